"""The libraries that keep answers to guides: each says what the engine is to get of a guide, or raises what is wrong.

They run in a process of their own, see `proof`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from triton_repo.contract.sampling import Guide

Enforced = Callable[[Guide], Guide]  # raises RuntimeError, ValueError or TypeError


def _xgrammar() -> Enforced:
    from xgrammar import Grammar

    return _as_it_is(
        {
            "json_schema": Grammar.from_json_schema,
            "regex": Grammar.from_regex,
            "ebnf_grammar": Grammar.from_ebnf,
            "structural_tag": Grammar.from_structural_tag,
        }
    )


def _llguidance() -> Enforced:
    from llguidance import LLMatcher

    def validated(grammar_of: Callable[[str], str]) -> Callable[[str], None]:
        def parse(guide: str) -> None:
            if error := LLMatcher.validate_grammar(grammar_of(guide)):
                raise ValueError(error)

        return parse

    return _as_it_is(
        {
            "json_schema": validated(LLMatcher.grammar_from_json_schema),
            "regex": validated(LLMatcher.grammar_from_regex),
            "ebnf_grammar": validated(LLMatcher.grammar_from_lark),  # what TensorRT-LLM passes under this name
        }
    )


def _openvino(engine_directory: str) -> Enforced:
    from triton_repo.engine.runtimes.openvino.proving import enforced_by

    return enforced_by(engine_directory)


def has_to_prove(library: str, guide: Guide) -> bool:
    """TensorRT-LLM has a grammar of its own for `json`."""
    return guide.text is not None or library == OPENVINO


def _as_it_is(parsers: Mapping[str, Callable[[str], Any]]) -> Enforced:
    def enforced(guide: Guide) -> Guide:
        parsers[guide.kind](guide.text or "")
        return guide

    return enforced


OPENVINO: Final = "openvino"
LIBRARIES: Final[Mapping[str, Callable[..., Enforced]]] = {
    "xgrammar": _xgrammar,
    "llguidance": _llguidance,
    OPENVINO: _openvino,
}
