"""What of an answer must match JSON schemas, put together from what the engine and its reader make of it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.answers.calls.own_form import OwnForm
from gateway.answers.events import Event, Text, ToolCallDelta
from gateway.answers.schema_check import schema_of
from triton_repo.contract.sampling import Guide


class Promised:
    """Where the model calls in its own form, its arguments match their schemas, and text that is no call its form.

    Else all that the engine writes matches the schema of its guide, if that is one.
    """

    def __init__(self, guide: Guide | None, own_form: OwnForm | None) -> None:
        self._schema = schema_of(guide if own_form is None else own_form.text)  # of the text
        self._reads_events = own_form is not None
        promised = own_form.promised if own_form is not None else {}
        self._schemas = {name: orjson.dumps(schema).decode() for name, schema in promised.items()}
        self._texts: list[str] = []
        self._calls: list[tuple[str, list[str]]] = []  # name and parts of the arguments

    def add(self, text: str, events: Sequence[Event]) -> None:
        """The text of one delta of the engine, and its events."""
        if self._reads_events:
            for event in events:
                self._add(event)
        elif self._schema is not None:
            self._texts.append(text)

    def parts(self, *, is_cut: bool) -> Sequence[tuple[str, str]]:
        """Schemas, and what must match each; `is_cut`: the text ends before the model has finished it."""
        if self._calls:  # a call that is one too many is cut off at its very start: all others are whole
            return [
                (self._schemas[name], "".join(arguments)) for name, arguments in self._calls if name in self._schemas
            ]
        return [] if self._schema is None or is_cut else [(self._schema, "".join(self._texts))]

    def _add(self, event: Event) -> None:
        if isinstance(event, Text) and self._schema is not None:
            self._texts.append(event.text)
        elif isinstance(event, ToolCallDelta):
            if event.name is not None:
                self._calls.append((event.name, []))
            self._calls[event.call][1].append(event.arguments)
