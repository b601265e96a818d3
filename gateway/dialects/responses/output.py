"""The output of one response as it grows, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.answers.events import Event, Finish, Reasoning, Text, ToolCallDelta
from gateway.answers.tokens import Token
from gateway.dialects.responses.events import OutputEvent
from gateway.dialects.responses.growing import CallItem, CustomItem, Item, MessageItem, ReasonedItem
from gateway.dialects.responses.resource import ItemStatus, OutputItem


class Output:
    """The output of one response. `id` is its own; those of its items are made of it. `custom`: the custom tools."""

    def __init__(self, id: str, numbers: Iterator[int], custom: frozenset[str] = frozenset()) -> None:
        self._custom = custom
        self._id = id
        self._numbers = numbers
        self._items: list[Item] = []
        self._open: Item | None = None

    @property
    def items(self) -> list[OutputItem]:
        return [item.json for item in self._items]

    def add(self, event: Event) -> list[OutputEvent]:
        """The events that tell of one event of the answer."""
        match event:
            case Text(_, text, tokens):
                return self._text(MessageItem, text, tokens)
            case Reasoning(_, text, tokens):
                return self._text(ReasonedItem, text, tokens)
            case ToolCallDelta():
                return self._call(event)
            case Finish(_, reason):
                # A client looks for the message of every answer, also of an empty one.
                events = [] if self._items else self._begin(MessageItem(*self._next))
                return events + self.end("incomplete" if reason == "length" else "completed")
        return []

    def end(self, status: ItemStatus) -> list[OutputEvent]:
        """The end of the item that is still open, if there is one."""
        item, self._open = self._open, None
        return [] if item is None else [*item.end(status)]

    @property
    def _next(self) -> tuple[str, int, Iterator[int]]:
        """What the next item begins with."""
        index = len(self._items)
        return f"{self._id}o{index}", index, self._numbers

    def _text(
        self, kind: type[MessageItem | ReasonedItem], text: str, tokens: Sequence[Token] | None
    ) -> list[OutputEvent]:
        """What has tokens but no text begins no item: the end of a tool call, say."""
        if not text and not isinstance(self._open, kind):
            return []
        events = [] if isinstance(self._open, kind) else self._begin(kind(*self._next))
        if isinstance(self._open, kind):
            events.append(self._open.add(text, tokens))
        return events

    def _call(self, delta: ToolCallDelta) -> list[OutputEvent]:
        events = []
        if delta.id is not None:
            kind = CustomItem if delta.name in self._custom else CallItem
            events = self._begin(kind(*self._next, delta.id, delta.name or ""))
        if isinstance(self._open, CallItem | CustomItem) and delta.arguments:
            events += self._open.add(delta.arguments)
        return events

    def _begin(self, item: Item) -> list[OutputEvent]:
        ended = self.end("completed")
        self._open = item
        self._items.append(item)
        return [*ended, *item.begin()]
