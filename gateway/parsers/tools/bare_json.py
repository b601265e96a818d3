"""Calls as JSON objects that nothing marks, or that stand behind `<|python_tag|>`: Llama 3.

Any object in the text is tried. It is a call only if its name is a function's that may be called, and it has
arguments: an answer in JSON is not taken for a call because it has a "name".
"""

from __future__ import annotations

from typing import Final

from gateway.parsers.parser import Parser, Schemas
from gateway.parsers.source import Markers, Source, Steps, Wait
from gateway.parsers.tools.answer import answer
from gateway.parsers.tools.json_call import JsonCall

PYTHON_TAG: Final = "<|python_tag|>"
_STARTS: Final = Markers(PYTHON_TAG, "{")


def bare_json(schemas: Schemas) -> Parser:
    call = JsonCall(schemas.__contains__, is_bare=True)

    def calls(source: Source, marker: str) -> Steps[bool]:
        yield from source.space()
        if marker == PYTHON_TAG and not (yield from source.skip("{")):
            return False
        is_call = yield from call.read_inside(source)
        is_next = is_call and (yield from _is_next(source))
        while is_next:
            is_next = (yield from call.read(source)) and (yield from _is_next(source))
        return is_call

    return answer(_STARTS, calls)


def _is_next(source: Source) -> Wait[bool]:
    """Read what separates calls: a comma, a semicolon or a line break."""
    yield from source.space()
    if not (yield from source.skip(";")):
        yield from source.skip(",")
    yield from source.space()
    yield from source.skip(PYTHON_TAG)
    return (yield from source.peek()) == "{"
