"""Parses guides with the library that is to enforce them, in a process of its own.

The length of a guide is bounded, the time and memory to parse it are not, and the libraries are native code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from triton_repo.bounded_process import Answer, BoundedProcess, Bounds, ProcessEnded
from triton_repo.contract.errors import EngineFailed

LIMIT_S: Final = 2.0
# What parsing may take on top of the library itself. A guide has 64 Ki characters: some kilobytes for each are more
# than a normal one needs, and little compared with the memory of a machine that serves an engine.
LIMIT_BYTES: Final = 1 << 30
_MAX_ERROR_LENGTH: Final = 200  # characters


class GuideParser:
    """Used by one thread. The process starts with the first guide, and again after one that ended it."""

    def __init__(self, backend: str, limit_s: float = LIMIT_S) -> None:
        self.backend = backend
        self._bounds = Bounds(limit_s, LIMIT_BYTES, cpu_time=False)
        self._process: BoundedProcess | None = None

    def error_of(self, kind: str, guide: str) -> str | None:
        """Why the library cannot parse the guide; None if it can.

        Raises:
            EngineFailed: the library is not installed.
        """
        self._process = self._process or BoundedProcess(parser_of, self._bounds, self.backend)
        self._process.ask(json.dumps([kind, guide]).encode())
        try:
            error: str | None = json.loads(self._process.answer())
        except ProcessEnded as ended:
            self._process = None
            if ended.status >= 0:
                raise EngineFailed(f"guides: {self.backend} could not be started") from ended
            return f"parsing it {self._bounds.exceeded(ended.status) or ended}"
        return error

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


def parser_of(backend: str) -> Answer:
    """For the process: what answers a guide, as JSON with its kind, with the library's error, or null."""
    parsers = _PARSERS[backend]()

    def error_of(message: bytes) -> tuple[bytes]:
        kind, guide = json.loads(message)
        return (json.dumps(_error_of(parsers[kind], guide)).encode(),)

    return error_of


def _error_of(parse: Callable[[str], Any], guide: str) -> str | None:
    try:
        parse(guide)
    except (RuntimeError, ValueError, TypeError) as error:  # a RecursionError is a RuntimeError
        return str(error).strip().partition("\n")[0][:_MAX_ERROR_LENGTH]
    return None


def _xgrammar() -> Mapping[str, Callable[[str], Any]]:
    from xgrammar import Grammar

    return {
        "json_schema": Grammar.from_json_schema,
        "regex": Grammar.from_regex,
        "ebnf_grammar": Grammar.from_ebnf,
        "structural_tag": Grammar.from_structural_tag,
    }


def _llguidance() -> Mapping[str, Callable[[str], Any]]:
    from llguidance import LLMatcher

    def validated(grammar_of: Callable[[str], str]) -> Callable[[str], None]:
        def parse(guide: str) -> None:
            if error := LLMatcher.validate_grammar(grammar_of(guide)):
                raise ValueError(error)

        return parse

    return {
        "json_schema": validated(LLMatcher.grammar_from_json_schema),
        "regex": validated(LLMatcher.grammar_from_regex),
        "ebnf_grammar": validated(LLMatcher.grammar_from_lark),  # what TensorRT-LLM passes under this name
    }


_PARSERS: Final[Mapping[str, Callable[[], Mapping[str, Callable[[str], Any]]]]] = {
    "xgrammar": _xgrammar,
    "llguidance": _llguidance,
}
