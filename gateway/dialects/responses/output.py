"""The items of one response as they grow, and the events that tell of them.

Source of the events and of their order: OpenAI's API reference, "Streaming events" of Responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import orjson

from gateway.answers.events import Event, Finish, Reasoning, Text, ToolCallDelta
from gateway.answers.tokens import Token
from gateway.dialects.responses.items import Json


class _Item:
    """One item: `json` is what it is so far."""

    prefix: ClassVar[str]  # of its id
    fields: ClassVar[Json]  # that all of its kind have

    def __init__(self, index: int, json: Json) -> None:
        self.json = json
        self._pieces: list[str] = []
        self._at: Json = {"item_id": json["id"], "output_index": index}
        self._index = index

    def begin(self) -> Iterator[Json]:
        yield {"type": "response.output_item.added", "output_index": self._index, "item": self.json}

    def end(self, status: str) -> Iterator[Json]:
        yield from self._close("".join(self._pieces))
        self.json = {**self.json, "status": status}
        yield {"type": "response.output_item.done", "output_index": self._index, "item": self.json}

    def _close(self, text: str) -> Iterator[Json]:
        raise NotImplementedError


class _TextItem(_Item):
    """An item with one part of text: a message, or reasoning."""

    text_kind: ClassVar[str]  # in the names of its events
    part: ClassVar[Json]  # its part before there is any text

    def __init__(self, index: int, json: Json) -> None:
        super().__init__(index, {**json, "content": []})
        self._at["content_index"] = 0
        self._tokens: list[orjson.Fragment] = []

    def begin(self) -> Iterator[Json]:
        yield from super().begin()
        yield {"type": "response.content_part.added", **self._at, "part": self.part}

    def add(self, text: str, tokens: Sequence[Token] | None) -> Json:
        self._pieces.append(text)
        logprobs = [orjson.Fragment(token.entry) for token in tokens or ()]
        self._tokens += logprobs
        return {"type": f"response.{self.text_kind}.delta", **self._at, "delta": text, **self._logprobs(logprobs)}

    def _close(self, text: str) -> Iterator[Json]:
        part = {**self.part, "text": text, **self._logprobs(self._tokens)}
        yield {"type": f"response.{self.text_kind}.done", **self._at, "text": text, **self._logprobs(self._tokens)}
        yield {"type": "response.content_part.done", **self._at, "part": part}
        self.json = {**self.json, "content": [part]}

    def _logprobs(self, _: list[orjson.Fragment]) -> Json:
        return {}


class _MessageItem(_TextItem):
    prefix = "msg"
    fields: ClassVar = {"type": "message", "role": "assistant"}
    text_kind = "output_text"
    part: ClassVar = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}

    def _logprobs(self, logprobs: list[orjson.Fragment]) -> Json:
        return {"logprobs": logprobs}


class _ReasoningItem(_TextItem):
    prefix = "rs"
    fields: ClassVar = {"type": "reasoning", "summary": []}
    text_kind = "reasoning_text"
    part: ClassVar = {"type": "reasoning_text", "text": ""}


class _CallItem(_Item):
    prefix = "fc"
    fields: ClassVar = {"type": "function_call"}

    def add(self, arguments: str) -> Json:
        self._pieces.append(arguments)
        return {"type": "response.function_call_arguments.delta", **self._at, "delta": arguments}

    def _close(self, text: str) -> Iterator[Json]:
        self.json = {**self.json, "arguments": text}
        named = {**self._at, "name": self.json["name"], "arguments": text}
        yield {"type": "response.function_call_arguments.done", **named}


class Output:
    """The output of one response. `id` is its own; those of its items are made of it."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._items: list[_Item] = []
        self._open: _Item | None = None

    @property
    def items(self) -> list[Json]:
        return [item.json for item in self._items]

    def add(self, event: Event) -> list[Json]:
        """The events, without their numbers, that tell of one event of the answer."""
        match event:
            case Text(_, text, tokens):
                return self._text(_MessageItem, text, tokens)
            case Reasoning(_, text, tokens):
                return self._text(_ReasoningItem, text, tokens)
            case ToolCallDelta():
                return self._call(event)
            case Finish(_, reason):
                # A client looks for the message of every answer, also of an empty one.
                events = [] if self._items else self._begin(_MessageItem)
                return events + self.end("incomplete" if reason == "length" else "completed")
        return []

    def end(self, status: str) -> list[Json]:
        """The end of the item that is still open, if there is one."""
        item, self._open = self._open, None
        return [] if item is None else [*item.end(status)]

    def _text(self, kind: type[_TextItem], text: str, tokens: Sequence[Token] | None) -> list[Json]:
        """What has tokens but no text begins no item: the end of a tool call, say."""
        if not text and not isinstance(self._open, kind):
            return []
        events = [] if isinstance(self._open, kind) else self._begin(kind)
        if isinstance(self._open, kind):
            events.append(self._open.add(text, tokens))
        return events

    def _call(self, delta: ToolCallDelta) -> list[Json]:
        events = []
        if delta.id is not None:
            events = self._begin(_CallItem, call_id=delta.id, name=delta.name or "", arguments="")
        if isinstance(self._open, _CallItem) and delta.arguments:
            events.append(self._open.add(delta.arguments))
        return events

    def _begin(self, kind: type[_Item], **fields: object) -> list[Json]:
        ended = self.end("completed")
        index = len(self._items)
        id = f"{kind.prefix}_{self._id}o{index}"
        self._open = kind(index, {"id": id, "status": "in_progress", **kind.fields, **fields})
        self._items.append(self._open)
        return [*ended, *self._open.begin()]
