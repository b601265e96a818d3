"""The events of a response, in OpenAI's order, and the whole response that they add up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.gateway.dialects.responses.bodies import WEATHER, create, events_of, stream
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import ContextLengthExceeded, EngineFailed
from triton_repo.contract.model_card import ReasoningCard

PARSED = replace(CARD, tool_parser="hermes", reasoning=ReasoningCard("qwen3"))
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "%s"}}\n</tool_call>'
EVERYTHING = (
    delta("<think>Let me"),
    delta(" see.</think>"),
    delta("I will look. "),
    delta(CALL % "Bonn"),
    delta(CALL % "Rome", "stop", 9, cached_tokens=2),
)
ITEM_EVENTS = {
    "reasoning": ["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"],
    "message": ["content_part.added", "output_text.delta", "output_text.done", "content_part.done"],
    "function_call": ["function_call_arguments.delta", "function_call_arguments.done"],
}


BACKEND = ScriptedBackend(EVERYTHING, cards={"demo": PARSED})


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


@pytest.fixture
def client(server: httpx.Client) -> httpx.Client:
    return script(server, *EVERYTHING)


def script(client: httpx.Client, *steps: Any) -> httpx.Client:
    """The client of an engine that says this."""
    BACKEND.script = steps
    return client


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    """What is the same of two answers to one request."""
    output = [{**item, "id": "", "call_id": ""} for item in response["output"]]
    return {**response, "id": "", "created_at": 0, "completed_at": 0, "output": output}


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Their types, with those that follow one another once."""
    types = [event["type"].removeprefix("response.") for event in events]
    return [kind for index, kind in enumerate(types) if index == 0 or types[index - 1] != kind]


def test_each_item_begins_grows_and_ends_before_the_next(client: httpx.Client) -> None:
    events = stream(client, tools=[WEATHER])
    expected = ["created", "in_progress"]
    for kind in ("reasoning", "message", "function_call", "function_call"):
        expected += ["output_item.added", *ITEM_EVENTS[kind], "output_item.done"]
    assert kinds(events) == [*expected, "completed"]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]


def test_deltas_add_up_to_the_text_of_done_and_of_the_last_response(client: httpx.Client) -> None:
    events = stream(client, tools=[WEATHER])
    output = events[-1]["response"]["output"]
    for index, item in enumerate(output):
        own = [event for event in events if event.get("output_index") == index]
        grown = "".join(event["delta"] for event in own if event["type"].endswith(".delta"))
        done = [event for event in own if event["type"].endswith(("text.done", "arguments.done"))]
        final = item.get("arguments") or item["content"][0]["text"]
        assert grown == final == done[0].get("text", done[0].get("arguments"))
        assert {event["item_id"] for event in own if "item_id" in event} == {item["id"]}
        assert own[0]["item"]["id"] == own[-1]["item"]["id"] == item["id"]
        assert own[0]["item"]["status"] == "in_progress"
        assert own[-1]["item"] == item
    assert [item["id"].split("_")[0] for item in output] == ["rs", "msg", "fc", "fc"]
    assert output[2]["call_id"] != output[3]["call_id"]
    assert [item["arguments"] for item in output[2:]] == ['{"city": "Bonn"}', '{"city": "Rome"}']


def test_the_whole_response_is_what_the_last_event_brings(client: httpx.Client) -> None:
    whole, streamed = create(client, tools=[WEATHER]), stream(client, tools=[WEATHER])[-1]["response"]
    assert without_ids(whole) == without_ids(streamed)
    assert whole["status"] == "completed"
    assert whole["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": whole["usage"]["output_tokens_details"]["reasoning_tokens"]},
        "total_tokens": 12,
    }


def test_a_response_keeps_the_order_of_its_items_streamed_and_whole(server: httpx.Client) -> None:
    steps = (delta(CALL % "Bonn" + "Wait, "), delta("also"), delta(CALL % "Rome", "stop", 5))
    client = script(server, *steps)
    whole, streamed = create(client, tools=[WEATHER]), stream(client, tools=[WEATHER])[-1]["response"]
    assert [item["type"] for item in whole["output"]] == ["function_call", "message", "function_call"]
    assert without_ids(whole) == without_ids(streamed)


def test_an_answer_that_is_cut_short_is_incomplete_and_says_why(server: httpx.Client) -> None:
    client = script(server, delta("Hel"), delta("lo", "length", 2))
    events, whole = stream(client), create(client)
    assert kinds(events)[-2:] == ["output_item.done", "incomplete"]
    for response in (events[-1]["response"], whole):
        assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert response["output"][0]["status"] == "incomplete"
        assert response["completed_at"] is None


def test_an_empty_answer_has_an_empty_message(server: httpx.Client) -> None:
    client = script(server, delta("", "stop", 1))
    assert create(client)["output"][0]["content"][0]["text"] == ""
    assert kinds(stream(client))[2:4] == ["output_item.added", "content_part.added"]


@pytest.mark.parametrize("streamed", [False, True])
def test_what_fails_before_its_first_token_has_a_status(server: httpx.Client, streamed: bool) -> None:
    client = script(server, ContextLengthExceeded("too long", "messages"))
    answer = client.post("/v1/responses", json={"model": "demo", "input": "x", "stream": streamed})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")


def test_what_fails_later_ends_once_with_what_there_was_and_what_it_used(server: httpx.Client) -> None:
    client = script(server, delta("Hel", completion_tokens=1), EngineFailed("the engine failed"))
    events = stream(client)
    kept = client.get(f"/v1/responses/{events[0]['response']['id']}").json()
    assert kinds(events)[-2:] == ["output_item.done", "failed"]
    assert sum(event["type"] in ("response.failed", "response.completed", "error") for event in events) == 1
    response = events[-1]["response"]
    assert response["error"] == {
        "code": "server_error",
        "message": "the engine failed",
        "param": None,
        "type": "engine_failed",
    }
    assert response["output"][0]["content"][0]["text"] == "Hel"
    assert response["usage"]["output_tokens"] == 1
    assert kept == response


def test_line_separators_of_any_kind_break_no_event(server: httpx.Client) -> None:
    text = "a\u2028b\u2029c\x85d\r\ne"
    client = script(server, delta(text, "stop"))
    answer = client.post("/v1/responses", json={"model": "demo", "input": "x", "stream": True})
    assert events_of(answer.text)[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert len(answer.text.splitlines()) == answer.text.count("\n")


def test_the_bytes_of_a_stream(server: httpx.Client) -> None:
    client = script(server, delta("Hi", "stop", 1))
    text = client.post("/v1/responses", json={"model": "demo", "input": "x", "stream": True}).text
    id = events_of(text)[0]["response"]["id"].removeprefix("resp_")
    at = f'"item_id":"msg_{id}o0","output_index":0,"content_index":0'
    item = f'"item":{{"id":"msg_{id}o0","status":"%s","type":"message","role":"assistant","content":[%s]}}'
    part = '{"type":"output_text","text":"%s","annotations":[],"logprobs":[]}'
    lines = [
        f'"type":"response.output_item.added","sequence_number":2,"output_index":0,{item % ("in_progress", "")}',
        f'"type":"response.content_part.added","sequence_number":3,{at},"part":{part % ""}',
        f'"type":"response.output_text.delta","sequence_number":4,{at},"delta":"Hi","logprobs":[]',
        f'"type":"response.output_text.done","sequence_number":5,{at},"text":"Hi","logprobs":[]',
        f'"type":"response.content_part.done","sequence_number":6,{at},"part":{part % "Hi"}',
        f'"type":"response.output_item.done","sequence_number":7,"output_index":0,{item % ("completed", part % "Hi")}',
    ]
    for line, event in zip(lines, text.split("\n\n")[2:8], strict=True):
        assert event.split("\n")[1] == f"data: {{{line}}}"
