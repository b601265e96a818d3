"""OpenAI's own client and its helpers for responses."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseInputItemParam
from pydantic import BaseModel

from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
JSON = '{"city": "Bonn", "celsius": 7}'
PARSED = replace(CARD, tool_parser="hermes")
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


class Report(BaseModel):
    city: str
    celsius: int


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend((delta(JSON[:9]), delta(JSON[9:], "stop", 9)), cards={"demo": PARSED})


def test_a_response_whole_and_streamed(client: openai.OpenAI) -> None:
    assert client.responses.create(model="demo", input="Hi").output_text == JSON
    with client.responses.stream(model="demo", input="Hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert ("".join(deltas), final.output_text) == (JSON, JSON)
    assert final.usage is not None
    assert final.usage.input_tokens_details.cached_tokens == final.usage.output_tokens_details.reasoning_tokens == 0


def test_a_parsed_response_whole_and_streamed(client: openai.OpenAI, backend: ScriptedBackend) -> None:
    expected = Report(city="Bonn", celsius=7)
    assert client.responses.parse(model="demo", input="Hi", text_format=Report).output_parsed == expected
    assert backend.generations[-1].sampling.guided_decoding_guide_type == "json_schema"
    with client.responses.stream(model="demo", input="Hi", text_format=Report) as stream:
        assert stream.get_final_response().output_parsed == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_its_output_goes_on_from_the_call(
    client: openai.OpenAI, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr(backend, "script", (delta(CALL[:30]), delta(CALL[30:], "stop", 5)))
    if streamed:
        with client.responses.stream(model="demo", input="Bonn?", tools=[WEATHER]) as stream:
            first = stream.get_final_response()
    else:
        first = client.responses.create(model="demo", input="Bonn?", tools=[WEATHER])  # type: ignore[assignment]
    [call] = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Bonn"}
    monkeypatch.setattr(backend, "script", (delta("7 degrees", "stop", 2),))
    told: ResponseInputItemParam = {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
    second = client.responses.create(model="demo", input=[told], previous_response_id=first.id, tools=[WEATHER])
    assert second.output_text == "7 degrees"
    messages = json.loads(backend.generations[-1].prompt.json)["messages"]  # type: ignore[union-attr]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]


def test_what_is_kept_is_retrieved_listed_counted_and_deleted(client: openai.OpenAI) -> None:
    id = client.responses.create(model="demo", input="Hi").id
    assert client.responses.retrieve(id).output_text == JSON
    assert [item.type for item in client.responses.input_items.list(id, limit=1)] == ["message"]
    assert client.responses.input_tokens.count(model="demo", input="Hi").input_tokens > 0
    client.responses.delete(id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(id)


def test_a_background_response_is_followed(client: openai.OpenAI) -> None:
    with client.responses.create(model="demo", input="Hi", background=True, stream=True) as stream:
        types = [event.type for event in stream]
    assert types[-1] == "response.completed"
    queued = client.responses.create(model="demo", input="Hi", background=True)
    assert client.responses.cancel(queued.id).status in ("cancelled", "completed")


def test_many_asynchronous_streams_at_once(client: openai.OpenAI) -> None:
    async def read_one(reader: openai.AsyncOpenAI) -> str:
        async with reader.responses.stream(model="demo", input="Hi") as stream:
            return (await stream.get_final_response()).output_text

    async def read_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="unused", max_retries=0) as reader:
            return await asyncio.gather(*(read_one(reader) for _ in range(20)))

    assert asyncio.run(read_all()) == [JSON] * 20
