"""OpenAI's Responses API, which the OpenResponses standard describes too."""
