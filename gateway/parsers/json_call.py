"""A call as a JSON object that has the function's name and its arguments: what many families write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.parsers.json_value import NO_ARGUMENTS, Arguments, JsonValue, json_string
from gateway.parsers.parser import CallArguments, CallEnd, CallStart
from gateway.parsers.source import Source, Steps, Wait, joined

NAME: Final = "name"
ARGUMENTS: Final = frozenset({"arguments", "parameters"})


def json_call(source: Source, is_name: Callable[[str], bool] = bool) -> Steps[bool]:
    """Read the object of one call, or as much of what comes next as may be one; whether it was.

    The keys may come in any order, with others between them. Once the name and the start of the arguments are known,
    the call is certain; before that nothing is yielded. `is_name` tells which names a call may have.
    """
    if not (yield from source.skip("{")):
        return False
    name, held = "", ""
    while key := (yield from _key(source)):
        if key == NAME and not name:
            name = yield from json_string(source)
            if not is_name(name):
                return False
        elif key in ARGUMENTS and name:
            yield from stream_call(source, name)
            yield from _rest_of_object(source)
            return True
        elif key in ARGUMENTS:
            held = yield from joined(Arguments(source).chunks())
        else:
            yield from joined(JsonValue(source).chunks())
        if not (yield from _next_pair(source)):
            break
    if not name or not (yield from _closes(source)):
        return False
    yield CallStart(name)
    yield CallArguments(held or NO_ARGUMENTS)
    yield CallEnd()
    return True


def stream_call(source: Source, name: str, id: str | None = None) -> Steps[None]:
    """The call of a function, whose arguments are the JSON value that comes next."""
    yield CallStart(name, id)
    arguments = Arguments(source)
    for chunk in arguments.chunks():
        if chunk is None:
            yield None
        elif chunk:
            yield CallArguments(chunk)
    if arguments.is_over:
        yield CallEnd()


def _key(source: Source) -> Wait[str]:
    """Read a key and its colon, up to the value; "" where there is none."""
    yield from source.space()
    key = yield from json_string(source)
    yield from source.space()
    if not key or not (yield from source.skip(":")):
        return ""
    yield from source.space()
    return key


def _next_pair(source: Source) -> Wait[bool]:
    yield from source.space()
    return (yield from source.skip(","))


def _closes(source: Source) -> Wait[bool]:
    yield from source.space()
    return (yield from source.skip("}"))


def _rest_of_object(source: Source) -> Wait[None]:
    """Read what follows the arguments, up to the brace that ends the object."""
    while (yield from _next_pair(source)):
        if not (yield from _key(source)):
            return
        yield from joined(JsonValue(source).chunks())
    yield from _closes(source)
