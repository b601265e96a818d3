"""What is fuzzed: one reader of outside bytes, with sound inputs to start from, and the errors that it may raise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# What readers of sizes, counts, text and nesting stumble over, put in place of something sound.
TOKENS: tuple[bytes, ...] = (
    b"",
    b"\0",
    b"-1",
    b"0",
    b"2147483648",
    b"9223372036854775808",
    b"1e400",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"',
    b"[" * 200,
    b"\\ud800",
    b"\xed\xa0\x80",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\r\n",
    b"\xe2\x80\xa8",
)
# Values that no field of a request or of a configuration expects, or only just.
VALUES: tuple[Any, ...] = (
    -1,
    0,
    1,
    2**31 - 1,
    2**31,
    2**63,
    10**400,
    -0.5,
    float("nan"),
    float("inf"),
    1e308,
    "1",
    "",
    True,
    None,
    [],
    {},
    [[]],
    [None],
    [1] * 200,
    {"a": {"b": 1}},
    "\ud800",
    "\0",
    "\r\n\u2028\x1b[31m",
    "x" * 3000,
)


@dataclass(frozen=True)
class Target:
    """`run` raises what is a fault of the reader; the errors that the reader may raise it takes itself.

    `sources` are the sound inputs, or what makes them. `tokens` are words of the format, beside those of all formats.
    `is_json` says that the inputs are JSON, so that values in them can be replaced, too.
    """

    name: str
    run: Callable[[bytes], None]
    sources: Sequence[bytes | Callable[[], bytes]]
    tokens: Sequence[bytes] = ()
    is_json: bool = False

    @cached_property
    def seeds(self) -> Sequence[bytes]:
        return [source if isinstance(source, bytes) else source() for source in self.sources]


@dataclass(frozen=True)
class Edit:
    """A part of an input, `length` bytes from `place`, is replaced by `content`, `times` over. Both are clipped."""

    place: int
    length: int
    content: bytes
    times: int = 1


def edited(seed: bytes, edits: Sequence[Edit]) -> bytes:
    """`seed` with the edits made, one after the other."""
    data = seed
    for edit in edits:
        place = edit.place % (len(data) + 1)
        data = data[:place] + edit.content * edit.times + data[place + edit.length :]
    return data


def json_target(name: str, run: Callable[[bytes], None], values: Sequence[Any]) -> Target:
    return Target(name, run, [json.dumps(value).encode() for value in values], is_json=True)


def replaced(seed: bytes, place: int, value: Any) -> bytes:
    """JSON with another value in one place of it, counted through all of them; `...` leaves out what is there."""
    whole = json.loads(seed)
    places = [*_places(whole)]
    if not places:
        return seed
    container, key = places[place % len(places)]
    if value is Ellipsis:
        del container[key]
    else:
        container[key] = value
    return json.dumps(whole).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
