"""An answer is text, with calls behind markers: the grammar that the families share."""

from __future__ import annotations

from collections.abc import Callable

from gateway.parsers.parser import Parser
from gateway.parsers.source import Markers, Source, SteppedParser, Steps, Wait
from gateway.parsers.tools.spacing import Spacing

# Reads the calls behind a marker; whether there were any. What it has not committed comes back as text.
Calls = Callable[[Source, str], Steps[bool]]


def answer(starts: Markers, calls: Calls) -> Parser:
    """The parser of answers in which `calls` stand behind any of `starts`."""
    return SteppedParser(lambda source: _answer(source, starts, calls))


def _answer(source: Source, starts: Markers, calls: Calls) -> Steps[None]:
    spacing = Spacing()
    while True:
        text, marker = yield from source.until(starts)
        if text:
            yield from spacing.text(text)
        if marker:
            source.commit()
            if (yield from calls(source, marker)):
                spacing.call()
                marker = ""
            yield from spacing.text(marker + source.uncommitted())
        elif not text:
            break
    yield from spacing.end()


def close(source: Source, *ends: str) -> Wait[None]:
    """Read these markers as far as they come next, with white space before them. The calls are over."""
    for end in ends:
        yield from source.space()
        if (yield from source.skip_or_end(end)):
            source.commit()


def in_section(begin: str, item: str, end: str, call: Callable[[Source], Steps[bool]]) -> Calls:
    """Calls that each start with `item`, in a section from `begin` to `end`; or without the section's markers."""

    def calls(source: Source, marker: str) -> Steps[bool]:
        if marker == begin:
            yield from source.space()
            if not (yield from source.skip(item)):
                return False
        is_call = False
        while (yield from call(source)):
            is_call = True
            yield from source.space()
            if not (yield from source.skip(item)):
                break
        if is_call:
            yield from close(source, end)
        return is_call

    return calls


def next_item(source: Source) -> Wait[bool]:
    """Read the comma before a further item of a list."""
    yield from source.space()
    is_next = yield from source.skip(",")
    yield from source.space()
    return is_next
