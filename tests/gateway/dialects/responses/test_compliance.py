"""The cases of the OpenResponses standard's compliance test, and its schema of a response, as of its version 2026-01.

Source: openresponses/openresponses, src/lib/compliance-tests.ts and schema/components/schemas/ResponseResource.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.gateway.dialects.responses.bodies import PATH, body, events_of
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving

REQUIRED: Final = frozenset(
    {
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "incomplete_details",
        "model",
        "previous_response_id",
        "instructions",
        "output",
        "error",
        "tools",
        "tool_choice",
        "truncation",
        "parallel_tool_calls",
        "text",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "temperature",
        "reasoning",
        "user",
        "usage",
        "max_output_tokens",
        "max_tool_calls",
        "store",
        "background",
        "service_tier",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
    }
)
NUMBERS: Final = ("top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "temperature")
WEATHER: Final = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}},
        "required": ["location"],
    },
}


def says(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


CASES: Final[dict[str, dict[str, Any]]] = {
    "basic-response": {"input": [says("user", "Say hello in exactly 3 words.")]},
    "streaming-response": {"input": [says("user", "Count from 1 to 5.")], "stream": True},
    "system-prompt": {
        "input": [
            says("system", "You are a pirate. Always respond in pirate speak."),
            says("user", "Say hello."),
        ]
    },
    "tool-calling": {"input": [says("user", "What's the weather like in San Francisco?")], "tools": [WEATHER]},
    "tool-calling-streaming": {
        "input": [says("user", "What's the weather like in San Francisco?")],
        "tools": [WEATHER],
        "stream": True,
    },
    "multi-turn": {
        "input": [
            says("user", "My name is Alice."),
            says("assistant", "Hello Alice! Nice to meet you. How can I help you today?"),
            says("user", "What is my name?"),
        ]
    },
}
CALL: Final = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "San Francisco, CA"}}\n</tool_call>'
EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    backend = ScriptedBackend((delta("Here. "), delta(CALL, "stop", 5)), {"demo": replace(CARD, tool_parser="hermes")})
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def check(response: dict[str, Any]) -> None:
    assert response.keys() >= REQUIRED
    Response.model_validate(response)
    assert response["status"] == "completed"
    assert response["output"]
    assert all(isinstance(response[name], int | float) for name in NUMBERS)
    for item in response["output"]:
        assert {"id", "type", "status"} <= item.keys()
        for part in item.get("content", []):
            assert {"type", "text", "annotations", "logprobs"} <= part.keys()


@pytest.mark.parametrize("case", sorted(CASES))
def test_it_complies(client: httpx.Client, case: str) -> None:
    answer = client.post(PATH, json=body(**CASES[case]))
    assert answer.status_code == 200, answer.text
    if not CASES[case].get("stream"):
        response = answer.json()
    else:
        events = events_of(answer.text)
        for event in events:
            assert type(EVENT.validate_python(event)).model_fields["type"].annotation.__args__[0] == event["type"]
        types = {event["type"] for event in events}
        response = events[-1]["response"]
        if "tools" in CASES[case]:
            assert {
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
            } <= types
            for kind in ("response.output_item.added", "response.output_item.done"):
                assert "function_call" in [event["item"]["type"] for event in events if event["type"] == kind]
    check(response)
    if "tools" in CASES[case]:
        assert "function_call" in [item["type"] for item in response["output"]]


def test_images_which_no_engine_here_reads_are_rejected_by_name(client: httpx.Client) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    answer = client.post(PATH, json=body(input=[says("user", [{"type": "input_text", "text": "What?"}, image])]))
    assert answer.status_code == 400
    assert "no images" in answer.json()["error"]["message"]
