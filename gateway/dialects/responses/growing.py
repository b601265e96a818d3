"""The items of a response while they grow: each tells of itself in events, from its beginning to its end.

Source of the events and of their order: OpenAI's API reference, "Streaming events" of Responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from gateway.answers.calls.custom_input import CustomInput
from gateway.answers.tokens import Token
from gateway.dialects.responses.events import ItemPlace, OutputEvent, PartPlace
from gateway.dialects.responses.resource import (
    CustomCallItem,
    FunctionCallItem,
    ItemStatus,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningTextPart,
)


class Item:
    """One item. It is told of as it was at each moment: what was told is never changed.

    Args:
        numbers: of the events of a response.
    """

    def __init__(self, json: OutputItem, index: int, numbers: Iterator[int]) -> None:
        self.json = json
        self._index = index
        self._numbers = numbers
        self._pieces: list[str] = []

    def begin(self) -> Iterator[OutputEvent]:
        yield {
            "type": "response.output_item.added",
            "sequence_number": next(self._numbers),
            "output_index": self._index,
            "item": self.json,
        }

    def end(self, status: ItemStatus) -> Iterator[OutputEvent]:
        yield from self._close("".join(self._pieces))
        ended = self.json.copy()
        ended["status"] = status
        self.json = ended
        yield {
            "type": "response.output_item.done",
            "sequence_number": next(self._numbers),
            "output_index": self._index,
            "item": ended,
        }

    def _close(self, text: str) -> Iterator[OutputEvent]:
        raise NotImplementedError

    @property
    def _at(self) -> ItemPlace:
        return {"item_id": self.json["id"], "output_index": self._index}


class TextItem(Item):
    """An item with one part of text."""

    def begin(self) -> Iterator[OutputEvent]:
        yield from super().begin()
        yield {
            "type": "response.content_part.added",
            "sequence_number": next(self._numbers),
            **self._at_part,
            "part": self._part(""),
        }

    def add(self, text: str, tokens: Sequence[Token] | None) -> OutputEvent:
        raise NotImplementedError

    def _close(self, text: str) -> Iterator[OutputEvent]:
        yield self._done(text)
        yield {
            "type": "response.content_part.done",
            "sequence_number": next(self._numbers),
            **self._at_part,
            "part": self._part(text),
        }

    def _part(self, text: str) -> OutputText | ReasoningTextPart:
        raise NotImplementedError

    def _done(self, text: str) -> OutputEvent:
        """Put the part with this text into the item; the event that says so."""
        raise NotImplementedError

    @property
    def _at_part(self) -> PartPlace:
        return {**self._at, "content_index": 0}


class MessageItem(TextItem):
    def __init__(self, id: str, index: int, numbers: Iterator[int]) -> None:
        self._message: OutputMessage = {
            "id": f"msg_{id}",
            "status": "in_progress",
            "type": "message",
            "role": "assistant",
            "content": [],
        }
        super().__init__(self._message, index, numbers)
        self._tokens: list[orjson.Fragment] = []

    def add(self, text: str, tokens: Sequence[Token] | None) -> OutputEvent:
        self._pieces.append(text)
        logprobs = [orjson.Fragment(token.entry) for token in tokens or ()]
        self._tokens += logprobs
        return {
            "type": "response.output_text.delta",
            "sequence_number": next(self._numbers),
            **self._at_part,
            "delta": text,
            "logprobs": logprobs,
        }

    def _part(self, text: str) -> OutputText:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": [*self._tokens]}

    def _done(self, text: str) -> OutputEvent:
        self.json = {**self._message, "content": [self._part(text)]}
        return {
            "type": "response.output_text.done",
            "sequence_number": next(self._numbers),
            **self._at_part,
            "text": text,
            "logprobs": self._tokens,
        }


class ReasonedItem(TextItem):
    def __init__(self, id: str, index: int, numbers: Iterator[int]) -> None:
        self._reasoning: ReasoningItem = {
            "id": f"rs_{id}",
            "status": "in_progress",
            "type": "reasoning",
            "summary": [],
            "content": [],
        }
        super().__init__(self._reasoning, index, numbers)

    def add(self, text: str, tokens: Sequence[Token] | None) -> OutputEvent:  # noqa: ARG002 - logprobs have no place here
        self._pieces.append(text)
        return {
            "type": "response.reasoning_text.delta",
            "sequence_number": next(self._numbers),
            **self._at_part,
            "delta": text,
        }

    def _part(self, text: str) -> ReasoningTextPart:
        return {"type": "reasoning_text", "text": text}

    def _done(self, text: str) -> OutputEvent:
        self.json = {**self._reasoning, "content": [self._part(text)]}
        return {
            "type": "response.reasoning_text.done",
            "sequence_number": next(self._numbers),
            **self._at_part,
            "text": text,
        }


class CallItem(Item):
    def __init__(self, id: str, index: int, numbers: Iterator[int], call_id: str, name: str) -> None:
        self._call: FunctionCallItem = {
            "id": f"fc_{id}",
            "status": "in_progress",
            "type": "function_call",
            "call_id": call_id,
            "name": name,
            "arguments": "",
        }
        super().__init__(self._call, index, numbers)

    def add(self, arguments: str) -> list[OutputEvent]:
        self._pieces.append(arguments)
        return [
            {
                "type": "response.function_call_arguments.delta",
                "sequence_number": next(self._numbers),
                **self._at,
                "delta": arguments,
            }
        ]

    def _close(self, text: str) -> Iterator[OutputEvent]:
        self.json = {**self._call, "arguments": text}
        yield {
            "type": "response.function_call_arguments.done",
            "sequence_number": next(self._numbers),
            **self._at,
            "name": self._call["name"],
            "arguments": text,
        }


class CustomItem(Item):
    """The call of a custom tool."""

    def __init__(self, id: str, index: int, numbers: Iterator[int], call_id: str, name: str) -> None:
        self._call: CustomCallItem = {
            "id": f"ctc_{id}",
            "status": "in_progress",
            "type": "custom_tool_call",
            "call_id": call_id,
            "name": name,
            "input": "",
        }
        super().__init__(self._call, index, numbers)
        self._reading = CustomInput()

    def add(self, arguments: str) -> list[OutputEvent]:
        return [*self._told(self._reading.add(arguments))]

    def _told(self, text: str) -> Iterator[OutputEvent]:
        if text:
            self._pieces.append(text)
            yield {
                "type": "response.custom_tool_call_input.delta",
                "sequence_number": next(self._numbers),
                **self._at,
                "delta": text,
            }

    def _close(self, text: str) -> Iterator[OutputEvent]:
        rest = self._reading.end()
        yield from self._told(rest)
        self.json = {**self._call, "input": text + rest}
        yield {
            "type": "response.custom_tool_call_input.done",
            "sequence_number": next(self._numbers),
            **self._at,
            "input": text + rest,
        }
