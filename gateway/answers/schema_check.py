"""Whether a finished answer matches the JSON schema that it was asked to: what no grammar enforces is found out here.

Schemas and answers come from outside. Patterns are matched in linear time, no reference is fetched, and what may take
long is checked in a process of its own: with a schema that refers to itself, the time may double with each level of an
answer.
"""

from __future__ import annotations

import asyncio
import atexit
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any, Final

import jsonschema_rs

from triton_repo.bounded_process import Answer, BoundedProcess, Bounds, ProcessEnded
from triton_repo.contract.errors import RequestError
from triton_repo.contract.sampling import Guide

_ANY_OBJECT: Final = '{"type": "object"}'
_BOUNDS: Final = Bounds(limit_s=2.0, memory_bytes=256 << 20)
_MOST_AT_ONCE: Final = 1 << 22  # characters of a schema times those of an answer: some milliseconds
_MOST_COMPILED: Final = 1 << 20  # bytes of one pattern
_MOST_OF_ALL: Final = 1 << 26  # bytes of those of one schema: some 0.2 s, for which all other requests wait
_REFERENCES: Final = ('"$ref"', '"$dynamicRef"', '"$recursiveRef"')
_MAX_ERROR_LENGTH: Final = 200


class AnswerDoesNotMatch(RequestError):
    """The model has finished an answer that is not what was asked for; another try may succeed."""

    status = 502
    type = "server_error"
    code = "answer_does_not_match"


class NoSchema(ValueError):
    """It is not a JSON schema, or one that cannot be checked; says why."""


def check_schema(schema: Any) -> None:
    """Raises: NoSchema."""
    _validator(json.dumps(schema))


def schema_of(guide: Guide | None) -> str | None:
    """The JSON schema that a guide asks for."""
    if guide is None or guide.kind not in ("json", "json_schema"):
        return None
    return guide.text or _ANY_OBJECT


async def check_answer(schema: str, text: str) -> None:
    """
    Raises:
        AnswerDoesNotMatch: the text is not JSON that the schema allows, or could not be checked within bounds.
    """
    if len(schema) * len(text) <= _MOST_AT_ONCE and not any(name in schema for name in _REFERENCES):
        error = _error_of(schema, text)
    else:
        loop = asyncio.get_running_loop()
        error = await loop.run_in_executor(_thread(), _checker().error_of, schema, text)
    if error is not None:
        raise AnswerDoesNotMatch(f"the answer does not match its schema: {error}")


def checker() -> Answer:
    """For the process: what answers the JSON of a schema and a text with that of what is wrong, or null."""

    def answer(message: bytes) -> tuple[bytes]:
        schema, text = json.loads(message)
        return (json.dumps(_whether(schema, text)).encode(),)

    return answer


class _Checker:
    """Used by one thread. The process starts with the first answer, and again after one that ended it."""

    def __init__(self) -> None:
        self._process: BoundedProcess | None = None

    def error_of(self, schema: str, text: str) -> str | None:
        self._process = self._process or BoundedProcess(checker, _BOUNDS)
        self._process.ask(json.dumps([schema, text]).encode())
        try:
            error: str | None = json.loads(self._process.answer())
        except ProcessEnded as ended:
            self._process = None
            return f"checking it {_BOUNDS.exceeded(ended.status) or ended}"
        return error

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


@cache
def _checker() -> _Checker:
    one = _Checker()
    atexit.register(one.close)
    return one


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "schema-check")


def _error_of(schema: str, text: str) -> str | None:
    try:
        _validator(schema).validate(json.loads(text))
    except jsonschema_rs.ValidationError as error:
        where = "".join(f"{part}." for part in error.instance_path)
        return _first_line(f"{where.removesuffix('.') or 'all of it'}: {error}")
    except (ValueError, RecursionError) as error:
        return _first_line(error)
    return None


def _whether(schema: str, text: str) -> str | None:
    """The reasons may be as many as the ways in which a schema can refer to itself: none is looked for."""
    try:
        is_valid = _validator(schema).is_valid(json.loads(text))
    except (ValueError, RecursionError) as error:
        return _first_line(error)
    return None if is_valid else "the schema does not allow it"


@lru_cache(64)
def _validator(schema: str) -> jsonschema_rs.Validator:
    try:
        value = json.loads(schema)
        size_limit = min(_MOST_COMPILED, _MOST_OF_ALL // max(1, _num_patterns(value)))
        options = jsonschema_rs.RegexOptions(size_limit=size_limit, dfa_size_limit=_MOST_COMPILED)
        return jsonschema_rs.validator_for(
            value, validate_formats=True, offline=True, pattern_options=options, mask="the value"
        )
    except (ValueError, jsonschema_rs.ReferencingError, RecursionError) as error:
        raise NoSchema(_first_line(error)) from None


def _num_patterns(schema: Any) -> int:
    """How many patterns it has, at most."""
    if isinstance(schema, list):
        return sum(map(_num_patterns, schema))
    if not isinstance(schema, dict):
        return 0
    of_names = schema.get("patternProperties")
    own = ("pattern" in schema) + (len(of_names) if isinstance(of_names, dict) else 0)
    return own + sum(map(_num_patterns, schema.values()))


def _first_line(error: Exception | str) -> str:
    return str(error).strip().partition("\n")[0][:_MAX_ERROR_LENGTH]
