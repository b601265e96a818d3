"""OpenAI's Decisions API."""
