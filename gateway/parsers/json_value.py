"""JSON values that are read from a source: as text, as a string, as the arguments of a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.parsers.json_scanner import JsonScanner, StringDecoder, decoded
from gateway.parsers.source import Source, Wait, joined

NO_ARGUMENTS: Final = "{}"


class JsonValue:
    """The value that comes next, as it is written. `is_over` once it has ended; else the answer was cut off in it."""

    def __init__(self, source: Source, *, in_string: bool = False) -> None:
        self.source = source
        self._scanner = JsonScanner(in_string=in_string)

    @property
    def is_over(self) -> bool:
        return self._scanner.done

    def chunks(self) -> Iterator[str | None]:
        source = self.source
        while not self._scanner.done and (yield from source.any()):
            if text := source.take(self._scanner.scan(source.text, source.at)):
                yield text


def json_string(source: Source) -> Wait[str]:
    """Read a string, and return what it says; "" where there is none, or it is cut off."""
    if (yield from source.peek()) != '"':
        return ""
    value = JsonValue(source)
    text = yield from joined(value.chunks())
    return decoded(text[1:-1]) if value.is_over else ""


class Arguments:
    """The value that comes next as the arguments of a call: their JSON text, as the model wrote it.

    But a string that has an object in it is decoded, and null or "" is no arguments. `is_over` once the value has
    ended, be it valid or not; without that, the answer was cut off in it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.is_over = False

    def chunks(self) -> Iterator[str | None]:
        first = yield from self._source.peek()
        if first == '"':
            yield from self._in_string()
            return
        value = JsonValue(self._source)
        if first and first in "{[":
            yield from value.chunks()
        else:
            text = yield from joined(value.chunks())
            yield NO_ARGUMENTS if text == "null" or (value.is_over and not text) else text
        self.is_over = value.is_over

    def _in_string(self) -> Iterator[str | None]:
        """Whether an object is in the string shows its first character that is no white space."""
        yield from self._source.skip('"')
        value = JsonValue(self._source, in_string=True)
        decoder = StringDecoder()
        start, says, is_object = '"', "", False
        for chunk in value.chunks():
            if chunk is None:
                yield None
                continue
            raw = chunk[:-1] if value.is_over else chunk
            if says:
                yield decoder.feed(raw) if is_object else raw
                continue
            start += raw
            if says := decoder.feed(raw).lstrip():
                is_object = says[0] in "{["
                yield says if is_object else start
        yield decoder.finish() if is_object else '"' if says else NO_ARGUMENTS
        self.is_over = value.is_over
