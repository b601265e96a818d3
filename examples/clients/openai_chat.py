"""One question, one answer: pip install openai."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000") + "/v1",
    api_key=os.environ.get("CONCH_API_KEY", "none"),
)
model = os.environ.get("CONCH_MODEL", "demo")

answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "What is Conch?"}])
print(answer.choices[0].message.content)
print(answer.usage)
