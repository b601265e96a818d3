"""An answer with calls and reasoning in each dialect: what a client makes of its stream is the whole answer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count, product
from typing import Any, Final

import orjson

from gateway.answers.events import Event, Finish, Reasoning, Text, ToolCallDelta, Usage, fold
from gateway.dialects.dialect import Encoder, Head
from gateway.dialects.openai.chat import ChatEncoder
from gateway.dialects.openai.form import ChatForm
from gateway.dialects.responses.create import CreateResponse
from gateway.parsers.families import answer_parser
from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser, Piece, ReasoningPiece, TextPiece
from tests.fuzz.target import Target
from tests.gateway.dialects.anthropic.test_encoder import accumulated, encoder, streamed
from tests.gateway.parsers.writers import WRITERS

_HEAD = Head("id", 0, "demo", "fp", lambda: Usage(7, 1))
_FAMILIES: Final = (("hermes", "qwen3"), ("openai", "openai_gptoss"), ("mistral", "mistral"), ("glm45", "glm45"))
_FUNCTIONS = {"f": {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}, "g": {}}


def fuzz_dialects(data: bytes) -> None:
    """The first byte is the family, the second the size of the chunks."""
    if len(data) < 2:
        return
    parser = answer_parser(*_FAMILIES[data[0] % len(_FAMILIES)], _FUNCTIONS)
    assert parser is not None
    events = [*_events(parser, data[2:].decode(errors="replace")[:2000], 1 + data[1]), Finish(0, "stop"), Usage(7, 2)]
    _check_chat(events)
    _check_responses(events)
    calls = fold(events).choices[0].tool_calls
    if all(_is_object(call.arguments) for call in calls):  # others are no input of a tool
        assert accumulated(streamed(events)) == json.loads(encoder().whole(fold(events)))


def _events(parser: Parser, answer: str, size: int) -> Iterator[Event]:
    numbers = count()
    number = 0
    pieces: list[Piece] = []
    for start in range(0, len(answer), size):
        pieces += parser.feed(answer[start : start + size])
    for piece in (*pieces, *parser.finish()):
        match piece:
            case TextPiece(text):
                yield Text(0, text)
            case ReasoningPiece(text):
                yield Reasoning(0, text)
            case CallStart(name):
                number = next(numbers)
                yield ToolCallDelta(0, number, "", f"call_{number}", name)
            case CallArguments(text):
                yield ToolCallDelta(0, number, text)
            case CallEnd():
                pass


def _check_chat(events: Sequence[Event]) -> None:
    def one() -> ChatEncoder:
        return ChatEncoder(_HEAD, ChatForm())

    streaming = one()
    sent = streaming.start() + b"".join(map(streaming.event, events)) + streaming.finish()
    texts: dict[str, str] = defaultdict(str)
    calls: list[dict[str, Any]] = []
    for data in _datas(sent):
        for choice in data["choices"]:
            for key in ("content", "reasoning_content"):
                texts[key] += choice["delta"].get(key) or ""
            for delta in choice["delta"].get("tool_calls", ()):
                if delta["index"] == len(calls):
                    calls.append({"id": delta["id"], "type": "function", "function": {"name": "", "arguments": ""}})
                for key, part in delta["function"].items():
                    calls[delta["index"]]["function"][key] += part
    message = json.loads(one().whole(fold(events)))["choices"][0]["message"]
    assert texts["content"] == (message["content"] or "")
    assert texts["reasoning_content"] == message.get("reasoning_content", "")
    assert calls == message.get("tool_calls", [])


def _check_responses(events: Sequence[Event]) -> None:
    def one() -> Encoder:
        return CreateResponse().parse({"model": "demo", "input": "x", "store": False}).encoder(_HEAD)

    streaming = one()
    sent = streaming.start() + b"".join(map(streaming.event, events)) + streaming.finish()
    datas = [*_datas(sent)]
    assert [data["sequence_number"] for data in datas] == [*range(len(datas))]
    output = datas[-1]["response"]["output"]
    assert output == json.loads(one().whole(fold(events)))["output"]
    assert output == [data["item"] for data in datas if data["type"] == "response.output_item.done"]
    said: dict[int, str] = defaultdict(str)
    for data in datas:
        if data["type"].endswith(".delta"):
            said[data["output_index"]] += data["delta"]
    for index, item in enumerate(output):
        parts = [part["text"] for part in item.get("content") or ()]
        assert said[index] == item.get("arguments", "".join(parts))


def _datas(sent: bytes) -> Iterator[Any]:
    for line in sent.decode().split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text or "{}"), dict)  # which takes no half of a surrogate pair
    except ValueError:
        return False


@cache
def targets() -> tuple[Target, ...]:
    calls = [("f", {"a": 'x "é🙂" \n{}', "n": 1}), ("g", {})]
    seeds = [
        f"{chr(number)}{chr(size)}<think>why</think>Hello {WRITERS[family](calls)} and".encode()
        for (number, (family, _)), size in product(enumerate(_FAMILIES), (0, 5))
    ]
    words = (b"<think>", b"</think>", b"<tool_call>", b"</tool_call>", b'"', b"{", b"}", b"[TOOL_CALLS]", b"\\ud83d")
    return (Target("dialects", fuzz_dialects, seeds, words),)
