"""Calls as Python writes them: `[get_weather(city="Paris"), f()]`. Llama 3.2 and 4, Olmo 3, LFM 2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser, Schemas
from gateway.parsers.source import Markers, Source, Steps, Wait
from gateway.parsers.tools.answer import answer, close
from gateway.parsers.tools.python_literal import LiteralScanner, literal_as_json

_NAME: Final = re.compile(r"[\w.\-]")


def pythonic(schemas: Schemas, *starts: str, end: str, is_bare: bool = False) -> Parser:
    """`is_bare`: a list of calls needs no marker, if it starts with a function that may be called."""

    def calls(source: Source, marker: str) -> Steps[bool]:
        yield from source.space()
        is_list = marker == "[" or (yield from source.skip("["))
        is_call = False
        while True:
            yield from source.space()
            name = yield from source.word(_NAME)
            is_name = name in schemas or (name and (is_call or marker != "["))
            if not (is_name and (yield from source.skip("("))):
                break
            is_call = True
            yield from _call(source, name, schemas)
            yield from source.space()
            yield from source.skip(",")
        if is_call:
            yield from close(source, *(["]"] if is_list else []), end)
        return is_call

    return answer(Markers(*starts, "[") if is_bare else Markers(*starts), calls)


def _call(source: Source, name: str, schemas: Schemas) -> Steps[None]:
    """The arguments of a call, whose parenthesis is open."""
    source.commit()
    yield CallStart(name)
    opening = "{"
    names = _parameters(schemas.get(name, {}).get("properties"))
    is_open = True
    while True:
        yield from source.space()
        if not is_open or (yield from source.skip(")")):  # or at a bracket that nothing has opened
            yield CallArguments("{}" if opening == "{" else "}")
            yield CallEnd()
            break
        key = yield from source.word(_NAME)
        yield from source.space()
        is_named = key and (yield from source.skip("="))
        value, is_over = yield from _literal(source, "" if is_named else key)
        if not is_over:
            break
        written = literal_as_json(value) or _string(value.strip())
        if opening == "{" and not is_named and written.startswith("{") and (yield from source.skip(")")):
            yield CallArguments(written)  # all of them, in one dictionary
            yield CallEnd()
            break
        if is_named or value.strip():
            yield CallArguments(f"{opening}{_string(key if is_named else next(names))}: {written}")
            opening = ", "
        is_open = (yield from source.skip(",")) or (yield from source.comes(")"))
    source.commit()


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _parameters(properties: object) -> Iterator[str]:
    """The names of the arguments that a call gives by their position."""
    names = properties if isinstance(properties, Iterable) else ()
    yield from (str(name) for name in names)
    position = 0
    while True:
        yield f"argument_{position}"
        position += 1


def _literal(source: Source, start: str) -> Wait[tuple[str, bool]]:
    """Read a value that begins with `start`; whether it has ended."""
    scanner = LiteralScanner()
    texts = [start]
    while not scanner.done and (yield from source.any()):
        texts.append(source.take(scanner.scan(source.text, source.at)))
    return "".join(texts), scanner.done
