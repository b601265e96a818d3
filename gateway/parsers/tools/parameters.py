"""Arguments that are written as text, as JSON by the types that the function's schema gives them.

A parameter that the schema does not list, or gives no type, is a string.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from gateway.parsers.parser import Schema
from gateway.parsers.tools.python_literal import literal_as_json

_TYPES: Final[Mapping[type, frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
    type(None): frozenset({"null"}),
}
STRING: Final = frozenset({"string"})
ANY_BUT_STRING: Final = frozenset({"boolean", "integer", "number", "array", "object", "null"})
_MAX_DEPTH: Final = 8  # of references and unions within a schema
_WORDS: Final = {"true": "true", "false": "false", "null": "null", "none": "null"}


def parameter_types(schema: Schema, name: str) -> frozenset[str]:
    """The JSON types that the parameter `name` of a function may have."""
    properties = schema.get("properties")
    parameter = properties.get(name) if isinstance(properties, Mapping) else None
    if parameter is None:
        parameter = schema.get("additionalProperties")
    return frozenset(_types(parameter, schema, 0)) or STRING


def _types(parameter: Any, root: Schema, depth: int) -> Iterator[str]:
    if not isinstance(parameter, Mapping) or depth > _MAX_DEPTH:
        return
    types = parameter.get("type")
    if isinstance(types, str):
        yield types
    elif isinstance(types, list):
        yield from (each for each in types if isinstance(each, str))
    else:
        values = parameter.get("enum", [parameter["const"]] if "const" in parameter else ())
        for value in values if isinstance(values, list) else ():
            yield from _TYPES.get(type(value), ())
        for key in ("anyOf", "oneOf", "allOf"):
            for each in parameter.get(key) or () if isinstance(parameter.get(key), list) else ():
                yield from _types(each, root, depth + 1)
        if isinstance(reference := parameter.get("$ref"), str):
            yield from _types(_referred(reference, root), root, depth + 1)
        elif "properties" in parameter:
            yield "object"
        elif "items" in parameter:
            yield "array"


def _referred(reference: str, root: Schema) -> Any:
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def json_argument(text: str, types: frozenset[str]) -> str:
    """A value as JSON: of one of `types` if it can be read so, else a string."""
    written = text.strip()
    candidate = _WORDS.get(written.lower(), written)
    if _fits(_read_json(candidate), types):
        return candidate
    if types & {"array", "object"}:
        literal = literal_as_json(written)
        if literal is not None and _fits(_read_json(literal), types):
            return literal
    return json.dumps(text, ensure_ascii=False)


def _fits(value: Any, types: frozenset[str]) -> bool:
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return True
    return bool(_TYPES.get(type(value), frozenset()) & types) and not isinstance(value, str)


def _read_json(text: str) -> Any:
    """The value, or NotImplemented where the text is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return NotImplemented


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
