"""The guide of a request: what its answer must look like. Checked, and proved by the library that is to enforce it.

A guide that the library cannot read is found before the engine has it: in the compiled flow (TensorRT-LLM 1.2) it
would make the iteration of the whole batch fail. Only its reading is proved here; to compile it takes the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from triton_repo.engine.config import EngineConfig
from triton_repo.errors import InvalidRequest, UnsupportedParameter
from triton_repo.sampling import GUIDE_FIELDS, Sampling

_TYPE, _GUIDE = GUIDE_FIELDS
# Under a complete guide only the end remains, and both of these forbid it.
_FORBIDDERS: Final = ("ignore_eos", "min_tokens")


def check_guide(sampling: Sampling, config: EngineConfig) -> None:
    """
    Raises:
        InvalidRequest: the guide is not one, or the engine cannot keep to it.
    """
    kind, guide = sampling.guided_decoding_guide_type, sampling.guided_decoding_guide
    if kind is None and guide is None:
        return
    allowed = guide_types(config)
    if not allowed:
        raise UnsupportedParameter(f"{_TYPE}: this engine has no guided decoding", _TYPE)
    if kind not in allowed:
        raise InvalidRequest(f"{_TYPE} = {kind}: must be one of {', '.join(allowed)}", _TYPE)
    if (kind == "json") != (guide is None):
        needs = "takes no" if kind == "json" else "needs a"
        raise InvalidRequest(f"{_GUIDE}: {_TYPE} = {kind} {needs} {_GUIDE}", _GUIDE)
    for name in _FORBIDDERS:
        if getattr(sampling, name):
            raise InvalidRequest(f"{name}: not possible beside {_TYPE}: the guide says when an answer may end", name)
    if guide is not None and config.tensorrt_llm is not None:
        _prove(str(config.tensorrt_llm.guided_decoding_backend), kind, guide)


def guide_types(config: EngineConfig) -> tuple[str, ...]:
    """The types of guides that the engine can follow."""
    settings = config.tensorrt_llm
    if settings is None or settings.guided_decoding_backend is None:
        return ()
    tags = settings.guided_decoding_backend == "xgrammar" and settings.flow == "pytorch"
    return ("json", "json_schema", "regex", "ebnf_grammar", *(("structural_tag",) if tags else ()))


def _prove(backend: str, kind: str, guide: str) -> None:
    try:
        _PROOFS[backend](kind, guide)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InvalidRequest(f"{_GUIDE}: {backend} cannot read this {kind}: {reason}", _GUIDE) from error


def _prove_by_xgrammar(kind: str, guide: str) -> None:
    from xgrammar import Grammar

    readers: Mapping[str, Callable[[str], Any]] = {
        "json_schema": Grammar.from_json_schema,
        "regex": Grammar.from_regex,
        "ebnf_grammar": Grammar.from_ebnf,
        "structural_tag": Grammar.from_structural_tag,
    }
    readers[kind](guide)


def _prove_by_llguidance(kind: str, guide: str) -> None:
    from llguidance import LLMatcher

    readers: Mapping[str, Callable[[str], str]] = {
        "json_schema": LLMatcher.grammar_from_json_schema,
        "regex": LLMatcher.grammar_from_regex,
        "ebnf_grammar": LLMatcher.grammar_from_lark,  # what TensorRT-LLM hands over under this name
    }
    complaint = LLMatcher.validate_grammar(readers[kind](guide))
    if complaint:
        raise ValueError(complaint)


_PROOFS: Final[Mapping[str, Callable[[str, str], None]]] = {
    "xgrammar": _prove_by_xgrammar,
    "llguidance": _prove_by_llguidance,
}
