"""What a form of an answer is, whatever a request calls it: one guide, see `triton_repo.contract.sampling`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import Guide
from triton_repo.engine.schema.keywords import not_enforced

_MAX_NAMES: Final = 8
_REGEX_SPECIAL: Final = frozenset("\\.^$*+?()[]{}|")


class Form(NamedTuple):
    """The form of an answer: the guide that the engine follows. A schema in it is checked once more in the end."""

    guide: Guide


def one_of(given: Mapping[str, tuple[Any, Callable[[Any], Form | None]]], within: str = "") -> Form | None:
    """The form that the one field that is not None asks for.

    Raises:
        InvalidRequest: there are two.
    """
    names = [name for name, (value, _) in given.items() if value is not None]
    if len(names) > 1:
        first, second = (f"{within}.{name}" if within else name for name in names[:2])
        rule = f"{second}: {first} says already what form the answer has; send one of them"
        raise InvalidRequest(rule, within or second)
    if not names:
        return None
    value, form_of = given[names[0]]
    return form_of(value)


def schema_form(schema: Mapping[str, Any] | bool | None, *, strict: bool | None = None, param: str = "") -> Form:
    """Of a JSON schema; None is that of any object.

    Raises:
        InvalidRequest: it is to be strict, and has a keyword that no grammar enforces.
    """
    if strict and (names := [*islice(not_enforced(schema), _MAX_NAMES)]):
        rule = "cannot be enforced while the answer is generated; leave strict out to have the answer checked"
        raise InvalidRequest(f"{param}: strict: {', '.join(names)}: {rule}", param)
    if schema is None or schema == {"type": "object"}:
        return Form(Guide("json", None))
    return Form(Guide("json_schema", orjson.dumps(schema).decode()))


def choice_form(choices: list[str]) -> Form:
    """One of several texts, as a regular expression: the one form of it that every library takes."""
    return regex_form("(" + "|".join("".join(map(_literal, choice)) for choice in choices) + ")")


def regex_form(text: str) -> Form:
    return Form(Guide("regex", text))


def grammar_form(text: str) -> Form:
    return Form(Guide("ebnf_grammar", text))


def _literal(character: str) -> str:
    if character in _REGEX_SPECIAL:
        return f"\\{character}"
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character, character)
