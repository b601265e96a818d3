"""The blocks of content of a whole message: those that its stream begins and ends, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal, cast

import orjson

from gateway.answers.events import Event, Reasoning, Text, ToolCallDelta
from gateway.dialects.anthropic import answer as answers

# How much a client sees of the reasoning: all of it, blocks without text ("omitted" in a request), or nothing.
ShownThinking = Literal["text", "omitted", "none"]


def content_of(events: Iterable[Event], thinking: ShownThinking, signature: str) -> Iterator[answers.AnswerContent]:
    """Each is of the events that follow one another and are of one kind, and of one call."""
    for _, group in groupby((event for event in events if _is_shown(event, thinking)), _block_of):
        parts = [*group]
        match parts[0]:
            case Text():
                yield {"type": "text", "text": _text(parts)}
            case Reasoning():
                shown = _text(parts) if thinking == "text" else ""
                yield {"type": "thinking", "thinking": shown, "signature": signature}
            case ToolCallDelta(_, _, _, id, name):
                arguments = "".join(part.arguments for part in parts if isinstance(part, ToolCallDelta))
                yield {"type": "tool_use", "id": id or "", "name": name or "", "input": _input(arguments)}


def _is_shown(event: Event, thinking: ShownThinking) -> bool:
    match event:
        case Text(_, text):
            return bool(text)
        case Reasoning(_, text):
            return bool(text) and thinking != "none"
        case _:
            return isinstance(event, ToolCallDelta)


def _block_of(event: Event) -> tuple[type[Event], int]:
    return type(event), event.call if isinstance(event, ToolCallDelta) else 0


def _text(parts: Iterable[Event]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text | Reasoning))


def _input(arguments: str) -> dict[str, Any]:
    """Arguments that are no JSON object, which a model may write where no grammar forbids it, are there as text."""
    try:
        is_object = isinstance(orjson.loads(arguments or "{}"), dict)
    except orjson.JSONDecodeError:
        is_object = False
    if not is_object:
        return {"arguments": arguments}
    # As they are streamed: read and written again, a number of more than 64 bits is another one.
    return cast("dict[str, Any]", orjson.Fragment(arguments or "{}"))
