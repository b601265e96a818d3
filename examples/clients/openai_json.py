"""An answer that is an object of a class: the engine can write nothing else. pip install openai."""

import os

from openai import OpenAI
from pydantic import BaseModel, Field

client = OpenAI(
    base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000") + "/v1",
    api_key=os.environ.get("CONCH_API_KEY", "none"),
)
model = os.environ.get("CONCH_MODEL", "demo")


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


answer = client.chat.completions.parse(
    model=model,
    messages=[{"role": "user", "content": "Describe a person."}],
    response_format=Person,
    max_tokens=200,
)
print(answer.choices[0].message.parsed)
