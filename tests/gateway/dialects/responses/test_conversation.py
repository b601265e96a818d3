"""What the model reads of a conversation: the input's items, and those of the responses that it goes on from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.gateway.dialects.responses.bodies import PATH, WEATHER, body, create, rejected, stream
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.model_card import ReasoningCard

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
PARSED = replace(CARD, tool_parser="hermes", reasoning=ReasoningCard("qwen3"))
BACKEND = ScriptedBackend((delta("<think>Hm.</think>I will look. "), delta(CALL, "stop", 9)), cards={"demo": PARSED})


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND, max_body_bytes=200_000) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def read(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    """The messages that the chat template gets for a request."""
    create(client, **fields)
    return prompt()["messages"]  # type: ignore[no-any-return]


def prompt() -> dict[str, Any]:
    chat: dict[str, Any] = json.loads(BACKEND.generations[-1].prompt.json)  # type: ignore[union-attr]
    return chat


def call(call_id: str, city: str, **fields: Any) -> dict[str, Any]:
    arguments = json.dumps({"city": city})
    return {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": arguments, **fields}


def output(id: str, text: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": text}


def part(type: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"type": type, "text": text, **fields}


def as_read(id: str, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"id": id, "type": "function", "function": function}


def test_instructions_and_leading_system_messages_are_one(client: httpx.Client) -> None:
    given = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"type": "message", "role": "system", "content": "Rhyme."},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": "Now in French."},
    ]
    assert read(client, instructions="Be brief.", input=given) == [
        {"role": "system", "content": "Be brief.\n\nBe kind.\n\nRhyme."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now in French."},
    ]


def test_a_turn_of_the_assistant_is_one_message_however_many_items_it_has(client: httpx.Client) -> None:
    given = [
        {"role": "user", "content": "Bonn? Rome?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [part("reasoning_text", "Both.")]},
        {"type": "message", "role": "assistant", "content": [part("output_text", "Wait.", annotations=[])]},
        call("c1", "Bonn", id="fc_1", status="completed"),
        call("c2", "Rome"),
        output("c1", "rain"),
        output("c2", [{"type": "input_text", "text": "su"}, {"type": "input_text", "text": "n"}]),
        {"role": "assistant", "content": "Rain, sun."},
        {"role": "user", "content": "Thanks"},
    ]
    assert read(client, input=given) == [
        {"role": "user", "content": "Bonn? Rome?"},
        {
            "role": "assistant",
            "content": "Wait.",
            "reasoning_content": "Both.",
            "tool_calls": [as_read("c1", "Bonn"), as_read("c2", "Rome")],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "name": "weather", "content": "sun"},
        {"role": "assistant", "content": "Rain, sun."},
        {"role": "user", "content": "Thanks"},
    ]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_goes_on_with_the_calls_of_earlier_responses(client: httpx.Client, streamed: bool) -> None:
    def send(**fields: Any) -> dict[str, Any]:
        return stream(client, **fields)[-1]["response"] if streamed else create(client, **fields)

    first = send(input="Bonn?", tools=[WEATHER], instructions="Be brief.")
    assert [item["type"] for item in first["output"]] == ["reasoning", "message", "function_call"]
    id = first["output"][2]["call_id"]
    second = send(input=[output(id, "rain")], previous_response_id=first["id"], tools=[WEATHER])
    send(input="And now?", previous_response_id=second["id"])
    again = second["output"][2]["call_id"]
    turn = {"role": "assistant", "content": "I will look.", "reasoning_content": "Hm."}
    assert prompt()["messages"] == [
        {"role": "user", "content": "Bonn?"},
        {**turn, "tool_calls": [as_read(id, "Bonn")]},
        {"role": "tool", "tool_call_id": id, "name": "weather", "content": "rain"},
        {**turn, "tool_calls": [as_read(again, "Bonn")]},
        {"role": "user", "content": "And now?"},
    ]


def test_a_client_may_send_the_output_back_as_it_got_it(client: httpx.Client) -> None:
    first = create(client, input="Bonn?", tools=[WEATHER], store=False)
    id = first["output"][2]["call_id"]
    messages = read(client, input=[{"role": "user", "content": "Bonn?"}, *first["output"], output(id, "rain")])
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"] == [as_read(id, "Bonn")]


def test_items_may_be_referred_to_by_their_ids(client: httpx.Client) -> None:
    first = create(client, input="Bonn?", tools=[WEATHER])
    reasoning, _, called = first["output"]
    references = [{"type": "item_reference", "id": reasoning["id"]}, {"id": called["id"]}]
    given = [{"role": "user", "content": "Bonn?"}, *references, output(called["call_id"], "rain")]
    messages = read(client, input=given)
    assert messages[1]["tool_calls"] == [as_read(called["call_id"], "Bonn")]
    assert messages[1]["reasoning_content"] == "Hm."


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"previous_response_id": "resp_x"}, "previous_response_id", "'resp_x' is not kept"),
        ({"previous_response_id": "x' OR '1'='1"}, "previous_response_id", "is not kept"),
        ({"input": [{"type": "item_reference", "id": "msg_x"}]}, "input", "there is no item 'msg_x' that is kept"),
        ({"input": [output("c9", "x")]}, "input", "no call with call_id 'c9' is before its output"),
        ({"input": [output("c1", "x"), call("c1", "Bonn")]}, "input", "is before its output"),
        ({"input": []}, None, "input must have at least one item"),
        ({"input": None}, None, "input must have at least one item"),
        ({"input": 7}, "input", "must be a string or a list of items"),
        ({"input": ["x"]}, "input", "must be an object"),
        ({"input": [{"type": "computer_call_output"}]}, "input", "items of this type are not supported, only message"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input", "no images"),
        ({"input": [{"role": "bot", "content": "x"}]}, "input", "role"),
        ({"input": [{"role": "user", "content": "x"}] * 4097}, "input", "4096"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": ""}] * 4097}]}, "input", "4096"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": 7}]}, "input", "string"),
    ],
)
def test_what_is_no_conversation_is_rejected(
    client: httpx.Client, fields: dict[str, Any], param: str | None, message: str
) -> None:
    error = rejected(client, **fields)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert message in error["message"]


def test_a_previous_response_that_is_gone_has_openais_code(client: httpx.Client) -> None:
    first = create(client)
    second = create(client, previous_response_id=first["id"])
    assert client.delete(f"{PATH}/{first['id']}").status_code == 200
    error = rejected(client, previous_response_id=second["id"])
    assert error["code"] == "previous_response_not_found"
    assert "goes on from one that is not kept any more" in error["message"]
    assert rejected(client, previous_response_id=first["id"])["code"] == "previous_response_not_found"


def test_a_conversation_is_no_larger_than_a_body_may_be(client: httpx.Client) -> None:
    first = create(client, input="x" * 150_000)
    second = create(client, input="y" * 100, previous_response_id=first["id"])
    third = create(client, input="z" * 60_000, previous_response_id=second["id"])
    assert "larger than 200000 bytes" in rejected(client, previous_response_id=third["id"])["message"]


def test_a_reference_that_is_repeated_makes_no_larger_a_prompt(client: httpx.Client) -> None:
    first = create(client, input="x" * 150_000)
    items = client.get(f"{PATH}/{first['id']}/input_items").json()["data"]
    error = rejected(client, input=[{"id": items[0]["id"]}] * 4000)
    assert "larger than 200000 bytes" in error["message"]


def test_tokens_of_a_prompt_are_counted_without_an_engine(client: httpx.Client) -> None:
    first = create(client, input="Bonn?", tools=[WEATHER])
    asked = len(BACKEND.generations)
    fields = {"input": "And now?", "previous_response_id": first["id"], "tools": [WEATHER]}
    counted = client.post(f"{PATH}/input_tokens", json=body(**fields))
    assert counted.json() == {"object": "response.input_tokens", "input_tokens": counted.json()["input_tokens"]}
    create(client, **fields)
    assert counted.json()["input_tokens"] == len(BACKEND.generations[-1].prompt.json)  # type: ignore[union-attr]
    assert len(BACKEND.generations) == asked + 1
    assert client.post(f"{PATH}/input_tokens", json={"model": 1, "input": "x"}).json()["error"]["param"] == "model"
