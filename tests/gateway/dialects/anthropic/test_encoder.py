"""Messages byte by byte: a block of content after the other, and the same as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.events import Event, Finish, Reasoning, Text, ToolCallDelta, Usage, fold
from gateway.dialects.anthropic.encoder import MessageEncoder
from gateway.dialects.dialect import Head
from triton_repo.contract.errors import EngineFailed

HEAD = Head("1", 1700000000, "demo", "fp_1", lambda: Usage(7, 1))
EVENTS: Sequence[Event] = (
    Reasoning(0, "Hm"),
    Reasoning(0, "m."),
    Text(0, "Look"),
    Text(0, ":"),
    ToolCallDelta(0, 0, "", "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city":'),
    ToolCallDelta(0, 0, '"Bonn"}'),
    ToolCallDelta(0, 1, "{}", "call_2", "time"),
    Finish(0, "tool_calls"),
    Usage(7, 20, 3),
)


def encoder(**options: Any) -> MessageEncoder:
    return MessageEncoder(HEAD, **{"max_tokens": 100, **options})


def streamed(events: Sequence[Event], **options: Any) -> list[dict[str, Any]]:
    """The data of each event; its name is the type."""
    one = encoder(**options)
    raw = one.start() + b"".join(map(one.event, events)) + one.finish()
    datas = []
    for event in raw.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        datas.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {datas[-1]['type']}"
    return datas


def accumulated(datas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of the events, and that they come in order."""
    message: dict[str, Any] = datas[0]["message"]
    parts: list[str] = []
    open_index = None
    for data in datas[1:]:
        match data["type"]:
            case "content_block_start":
                assert open_index is None
                open_index = data["index"]
                assert open_index == len(message["content"])
                message["content"].append(data["content_block"])
                parts = []
            case "content_block_delta":
                assert data["index"] == open_index
                block, delta = message["content"][-1], data["delta"]
                key = {"input_json_delta": "partial_json"}.get(delta["type"], delta["type"].removesuffix("_delta"))
                if key == "partial_json":
                    parts.append(delta[key])
                else:
                    block[key] += delta[key]
            case "content_block_stop":
                assert data["index"] == open_index
                open_index = None
                if any(parts):
                    message["content"][-1]["input"] = json.loads("".join(parts))
            case "message_delta":
                assert open_index is None
                message |= data["delta"] | {"usage": data["usage"]}
    assert datas[-1] == {"type": "message_stop"}
    return message


def test_a_stream_is_written_byte_for_byte_as_reviewed() -> None:
    one = encoder()
    events: list[Event] = [Text(0, "A\u2028"), Finish(0, "stop"), Usage(7, 2)]
    assert one.start() + b"".join(map(one.event, events)) + one.finish() == (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
        b'"role":"assistant","model":"demo","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"A\\u2028"}}\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        b'"stop_sequence":null},"usage":{"input_tokens":7,"output_tokens":2}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_thinking_text_and_calls_are_blocks_and_the_same_streamed_and_whole() -> None:
    message = accumulated(streamed(EVENTS))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hmm.", "signature": "conch-1"},
        {"type": "text", "text": "Look:"},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bonn"}},
        {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
    ]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"] == {"input_tokens": 4, "output_tokens": 20, "cache_read_input_tokens": 3}
    assert json.loads(encoder().whole(fold(EVENTS))) == message


@pytest.mark.parametrize("thinking", ["text", "omitted", "none"])
def test_blocks_are_in_the_order_in_which_they_were_written_streamed_and_whole(thinking: str) -> None:
    events = [*EVENTS[:-2], Text(0, " and"), Reasoning(0, "So"), Text(0, ""), Text(0, " now"), *EVENTS[-2:]]
    message = accumulated(streamed(events, thinking=thinking))
    assert next(block["text"] for block in message["content"] if block["type"] == "text") == "Look:"
    assert message["content"][-1]["text"] == (" and now" if thinking == "none" else " now")
    assert json.loads(encoder(thinking=thinking).whole(fold(events))) == message


def test_hidden_thinking_leaves_a_signed_block_without_text() -> None:
    [block, *_] = accumulated(streamed(EVENTS, thinking="omitted"))["content"]
    assert block == {"type": "thinking", "thinking": "", "signature": "conch-1"}
    [whole, *_] = json.loads(encoder(thinking="omitted").whole(fold(EVENTS)))["content"]
    assert whole == block


def test_thinking_that_is_not_to_be_shown_leaves_no_block() -> None:
    message = accumulated(streamed(EVENTS, thinking="none"))
    assert [block["type"] for block in message["content"]] == ["text", "tool_use", "tool_use"]
    assert json.loads(encoder(thinking="none").whole(fold(EVENTS))) == message


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish(0, "stop"), "end_turn"),
        (Finish(0, "stop", "END"), "stop_sequence"),
        (Finish(0, "length"), "model_context_window_exceeded"),
        (Finish(0, "tool_calls"), "tool_use"),
    ],
)
def test_why_a_message_ended(finish: Finish, reason: str) -> None:
    events: list[Event] = [Text(0, "a"), finish, Usage(7, 5)]
    for message in (accumulated(streamed(events)), json.loads(encoder().whole(fold(events)))):
        assert (message["stop_reason"], message["stop_sequence"]) == (reason, finish.stop)
    assert accumulated(streamed([Finish(0, "length"), Usage(7, 100)]))["stop_reason"] == "max_tokens"


def test_arguments_that_are_no_object_are_there_as_text() -> None:
    events: list[Event] = [ToolCallDelta(0, 0, "not JSON", "c", "f"), Finish(0, "tool_calls"), Usage(1, 1)]
    [block] = json.loads(encoder().whole(fold(events)))["content"]
    assert block["input"] == {"arguments": "not JSON"}


def test_numbers_in_arguments_are_those_that_the_model_wrote() -> None:
    arguments = '{"n": 214748364821474836481, "x": 1.10}'
    events: list[Event] = [ToolCallDelta(0, 0, arguments, "call_1", "f"), Finish(0, "tool_calls"), Usage(1, 1)]
    assert arguments.encode() in encoder().whole(fold(events))


def test_a_failure_is_an_error_event() -> None:
    one = encoder()
    assert one.fail(EngineFailed("the engine failed")) == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"the engine failed"},'
        b'"request_id":"1"}\n\n'
    )


PIECES = st.one_of(
    st.builds(Reasoning, st.just(0), st.text(max_size=5)),
    st.builds(Text, st.just(0), st.text(max_size=5)),
)


@given(st.lists(PIECES, max_size=12))
def test_blocks_come_one_after_the_other_whatever_the_model_writes(pieces: list[Event]) -> None:
    message = accumulated(streamed([*pieces, Finish(0, "stop"), Usage(1, 1)]))
    for kind, cls in (("text", Text), ("thinking", Reasoning)):
        written = "".join(piece.text for piece in pieces if isinstance(piece, cls))
        assert "".join(block[kind] for block in message["content"] if block["type"] == kind) == written
