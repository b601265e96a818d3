"""A call as a JSON object that has the function's name and its arguments: what many families write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.parsers.json_value import NO_ARGUMENTS, Arguments, JsonValue, json_string
from gateway.parsers.parser import CallArguments, CallEnd, CallStart
from gateway.parsers.source import Source, Steps, Wait, joined

NAMES: Final = frozenset({"name", "tool_name"})
ARGUMENTS: Final = frozenset({"arguments", "parameters"})
FUNCTION: Final = "function"


@dataclass(frozen=True, slots=True)
class JsonCall:
    """The object of one call: `{"name": …, "arguments": {…}}`, its keys in any order, maybe as a value of "function".

    Attributes:
        is_name: which names a call may have.
        is_bare: no marker says that the object is a call, so that it must have arguments, and few other keys.
    """

    is_name: Callable[[str], bool] = bool
    is_bare: bool = False

    def read(self, source: Source) -> Steps[bool]:
        """Read the object, or as much of what comes next as may be one; whether it was a call.

        Once the name and the start of the arguments are known, it is certain; before that nothing is yielded.
        """
        return (yield from source.skip("{")) and (yield from self.read_inside(source))

    def read_inside(self, source: Source) -> Steps[bool]:
        """Read the object, whose first brace has been read."""
        name, held = "", ""
        while key := (yield from _key(source)):
            if key == FUNCTION and not name and (yield from source.peek()) == "{":
                is_call = yield from self.read(source)
                return is_call and (yield from _rest_of_object(source))
            if key in NAMES and not name:
                name = yield from json_string(source)
                if not self.is_name(name):
                    return False
            elif key in ARGUMENTS and name:
                yield from stream_call(source, name)
                return (yield from _rest_of_object(source))
            elif key in ARGUMENTS:
                held = yield from joined(Arguments(source).chunks())
            elif self.is_bare and key not in ("type", "id"):
                return False
            else:
                yield from joined(JsonValue(source).chunks())
            if not (yield from _next_pair(source)):
                break
        if not name or (self.is_bare and not held) or not (yield from _closes(source)):
            return False
        source.commit()
        yield CallStart(name)
        yield CallArguments(held or NO_ARGUMENTS)
        yield CallEnd()
        return True


def stream_call(source: Source, name: str, id: str | None = None) -> Steps[bool]:
    """The call of a function, whose arguments are the JSON value that comes next; whether they have ended."""
    yield CallStart(name, id)
    arguments = Arguments(source)
    for chunk in arguments.chunks():
        if chunk is None:
            yield None
        elif chunk:
            yield CallArguments(chunk)
    source.commit()
    if arguments.is_over:
        yield CallEnd()
    return arguments.is_over


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


def _rest_of_object(source: Source) -> Wait[bool]:
    """Read what follows the arguments, up to the brace that ends the object; True."""
    while (yield from _next_pair(source)):
        if not (yield from _key(source)):
            return True
        yield from joined(JsonValue(source).chunks())
    if (yield from _closes(source)):
        source.commit()
    return True
