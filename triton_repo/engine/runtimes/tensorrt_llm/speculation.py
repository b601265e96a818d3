"""What the configurations of speculative decoding are made with, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from triton_repo.contract.engine_config import SpeculativeConfig
from triton_repo.contract.engine_directory import EngineDirectory

Arguments = Mapping[str, Any]


def ngram_arguments(_model_directory: Path, speculative: SpeculativeConfig) -> Arguments:
    """Of `NGramDecodingConfig`. By default the tokens of one request are candidates for the others."""
    return {
        "max_draft_len": speculative.num_assistant_tokens,
        "max_matching_ngram_size": speculative.max_ngram_size,
        "is_public_pool": False,
    }


def suffix_automaton_arguments(_model_directory: Path, speculative: SpeculativeConfig) -> Arguments:
    """Of `SADecodingConfig`, whose n-grams are all of one size. Like n-grams, each request has its own."""
    return {
        "max_draft_len": speculative.num_assistant_tokens,
        "max_matching_ngram_size": speculative.max_ngram_size,
        "enable_global_pool": False,
    }


def draft_arguments(model_argument: str) -> Callable[[Path, SpeculativeConfig], Arguments]:
    """Of `DraftTargetDecodingConfig`; `model_argument` names the draft's checkpoint."""

    def arguments(model_directory: Path, speculative: SpeculativeConfig) -> Arguments:
        draft = EngineDirectory(model_directory.parent).draft.checkpoint
        return {"max_draft_len": speculative.num_assistant_tokens, model_argument: str(draft)}

    return arguments


def lookahead_arguments(_model_directory: Path, speculative: SpeculativeConfig) -> Arguments:
    """Of `LookaheadDecodingConfig`, which computes from these the `max_draft_len` that the engine was compiled for."""
    return {
        "max_window_size": speculative.max_window_size,
        "max_ngram_size": speculative.max_ngram_size,
        "max_verification_set_size": speculative.max_verification_set_size,
    }
