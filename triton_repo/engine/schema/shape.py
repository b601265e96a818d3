"""Whether each keyword of a schema has a value of its kind, on which everything else in this folder relies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from triton_repo.engine.schema.merge import count

_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains")
_SIZES: Final = (*_COUNTS, "minProperties", "maxProperties")


class _Rule(NamedTuple):
    """What a keyword takes: in words, as a test, and the schemas that are part of a value which passes it."""

    words: str
    holds: Callable[[Any], bool]
    parts: Callable[[Any], Iterator[Any]] = lambda _: iter(())


def check_shape(schema: Any) -> None:
    """
    Args:
        schema: as it was parsed; whatever it is.

    Raises:
        ValueError: it is no schema, or a part of it is none; names the keyword.
    """
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, Mapping):
            raise ValueError(f"a JSON schema is an object or a boolean, not {_shown(part)}")  # noqa: TRY004
        for keyword in _SIZES:
            count(part, keyword)
        for keyword, rule in _RULES.items():
            if keyword not in part:
                continue
            if not rule.holds(part[keyword]):
                raise ValueError(f"{keyword} = {_shown(part[keyword])}: must be {rule.words}")
            waiting += rule.parts(part[keyword])


def _shown(value: Any) -> str:
    """Of what has no bound on its size only the kind."""
    if isinstance(value, list | Mapping):
        return "an array" if isinstance(value, list) else "an object"
    return f"{str(value)[:40]!r}" if isinstance(value, str) else str(value)[:40]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_names(value: Any) -> bool:
    return _is_object(value) and all(map(_is_texts, value.values()))


def _itself(value: Any) -> Iterator[Any]:
    yield value


def _itself_or_each(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list) else (value,)


def _values(value: Any) -> Iterator[Any]:
    yield from value.values()


def _values_but_names(value: Any) -> Iterator[Any]:
    return (each for each in value.values() if not _is_texts(each))


_ANY_SCHEMA: Final = _Rule("a schema", lambda _: True, _itself)  # each part is looked at by itself
_SCHEMAS: Final = _Rule("an array of schemas", _is_list, iter)
_NAMED: Final = _Rule("an object of schemas", _is_object, _values)
_NUMBER: Final = _Rule("a number", _is_number)
_NUMBER_OR_SWITCH: Final = _Rule("a number, or a boolean in draft 4", lambda it: isinstance(it, bool) or _is_number(it))
_TEXT: Final = _Rule("a string", _is_text)
_RULES: Final[Mapping[str, _Rule]] = {
    "type": _Rule("a string or an array of strings", lambda it: _is_text(it) or _is_texts(it)),
    "enum": _Rule("an array", _is_list),
    "$ref": _TEXT,
    "pattern": _TEXT,
    "required": _Rule("an array of strings", _is_texts),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _SCHEMAS),
    **dict.fromkeys(("additionalItems", "additionalProperties", "contains", "propertyNames"), _ANY_SCHEMA),
    "items": _Rule("a schema or an array of schemas", lambda _: True, _itself_or_each),
    **dict.fromkeys(("properties", "patternProperties"), _NAMED),
    "dependencies": _Rule("an object of schemas or arrays of strings", _is_object, _values_but_names),
    "dependentRequired": _Rule("an object of arrays of strings", _is_names),
    **dict.fromkeys(("minimum", "maximum"), _NUMBER),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), _NUMBER_OR_SWITCH),
    "multipleOf": _Rule("a number > 0", lambda it: _is_number(it) and it > 0),
}
