"""Events of one choice as they are found, those that follow each other and are of one kind made one."""

from __future__ import annotations

from gateway.answers.events import Event, Reasoning, Text, ToolCallDelta
from gateway.answers.tokens import Token


class EventList:
    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._events: list[Event] = []

    def text(self, text: str) -> None:
        if text:
            self.add(Text(self._choice, text))

    def reasoning(self, text: str) -> None:
        self.add(Reasoning(self._choice, text))

    def token(self, token: Token) -> None:
        """It leaves with the last text; where there is none, with an empty one."""
        last = self._events[-1] if self._events else None
        if isinstance(last, Text | Reasoning):
            self._events[-1] = last._replace(tokens=[*(last.tokens or ()), token])
        else:
            self._events.append(Text(self._choice, "", [token]))

    def add(self, event: Event) -> None:
        last = self._events[-1] if self._events else None
        if (isinstance(last, Text) and isinstance(event, Text)) or (
            isinstance(last, Reasoning) and isinstance(event, Reasoning)
        ):
            self._events[-1] = last._replace(text=last.text + event.text)
        elif isinstance(last, ToolCallDelta) and isinstance(event, ToolCallDelta) and event.id is None:
            self._events[-1] = last._replace(arguments=last.arguments + event.arguments)
        else:
            self._events.append(event)

    def merged(self) -> list[Event]:
        return self._events
