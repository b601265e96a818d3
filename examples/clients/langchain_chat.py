"""LangChain: an answer, a stream, and an object of a class: pip install langchain-openai."""

import os

from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

model = ChatOpenAI(
    base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000") + "/v1",
    api_key=os.environ.get("CONCH_API_KEY", "none"),
    model=os.environ.get("CONCH_MODEL", "demo"),
    max_tokens=200,
)


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


print(model.invoke("What is Conch?").content)
for chunk in model.stream("What is Conch?"):
    print(chunk.content, end="", flush=True)
print()
print(model.with_structured_output(Person).invoke("Describe a person."))
