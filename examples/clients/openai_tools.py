"""A tool: the model calls it, this program runs it, the model answers with its result: pip install openai."""

import json
import os
from typing import Any, Literal

from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

client = OpenAI(
    base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000") + "/v1",
    api_key=os.environ.get("CONCH_API_KEY", "none"),
)
model = os.environ.get("CONCH_MODEL", "demo")


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Bonn", "Paris"]


def weather(city: str) -> str:
    return json.dumps({"city": city, "degrees": 21})


messages: list[Any] = [{"role": "user", "content": "How is the weather in Bonn?"}]
tools = [pydantic_function_tool(Weather)]
asked = client.chat.completions.create(
    model=model,
    messages=messages,
    tools=tools,
    tool_choice="required",  # without it, the model decides
    max_tokens=200,
)
messages.append(asked.choices[0].message)
for call in asked.choices[0].message.tool_calls or ():
    print(call.function.name, call.function.arguments)
    result = weather(**json.loads(call.function.arguments))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

answer = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="none")
print(answer.choices[0].message.content)
