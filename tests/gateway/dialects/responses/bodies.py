"""Requests for responses, and what comes back."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

PATH: Final = "/v1/responses"
WEATHER: Final = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "input": "Hello", **fields}


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(PATH, json=body(**fields))
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def stream(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    answer = client.post(PATH, json=body(stream=True, **fields))
    assert answer.status_code == 200, answer.text
    return events_of(answer.text)


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which says of each what it is twice, numbers them and ends as OpenResponses has it."""
    *given, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    events = []
    for event in given:
        name, data = event.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def rejected(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(PATH, json=body(**fields))
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error
