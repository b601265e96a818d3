"""The steps of the ensemble: their model names, and which tensors each takes and gives."""

from __future__ import annotations

from typing import Final

from triton_repo.contract.stock_inputs import STOCK_TENSORS
from triton_repo.contract.tensors import (
    CHAT,
    DELTA_LENGTHS,
    END_ID,
    EXCLUDE_INPUT_IN_OUTPUT,
    FINISH_REASON,
    GUIDE_TENSORS,
    INPUT_IDS,
    LOGPROBS,
    OUTPUT_IDS,
    PROMPT_TOKEN_IDS,
    REJECTION,
    REQUEST_IDS,
    ROW_IDS,
    SAMPLING_ALIASES,
    SAMPLING_TENSORS,
    STOP,
    STOP_SEQUENCES,
    STOP_WORDS,
    STREAM,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKEN_COUNTS,
    TOKEN_TEXTS,
)

STEPS: Final = ("preprocess", "engine", "detokenize")

PREPROCESS_INPUTS: Final = (TEXT_INPUT, CHAT, PROMPT_TOKEN_IDS, STOP_WORDS, *STOCK_TENSORS)
PREPROCESS_OUTPUTS: Final = (INPUT_IDS, STOP_SEQUENCES, REJECTION)
TOKENIZE_OUTPUTS: Final = (TOKEN_TEXTS,)  # of preprocess too, and of no use to the ensemble
ENGINE_CLIENT_INPUTS: Final = (
    STREAM,
    END_ID,
    EXCLUDE_INPUT_IN_OUTPUT,
    ROW_IDS,
    *SAMPLING_TENSORS,
    *SAMPLING_ALIASES,
    *GUIDE_TENSORS,
)
ENGINE_INPUTS: Final = (*PREPROCESS_OUTPUTS, STOP, *ENGINE_CLIENT_INPUTS)
ENGINE_OUTPUTS: Final = (OUTPUT_IDS, DELTA_LENGTHS, FINISH_REASON, TOKEN_COUNTS, REQUEST_IDS, LOGPROBS)
DETOKENIZE_INPUTS: Final = (OUTPUT_IDS, DELTA_LENGTHS, FINISH_REASON, LOGPROBS)
DETOKENIZE_OUTPUTS: Final = (TEXT_OUTPUT,)
ENSEMBLE_INPUTS: Final = (*PREPROCESS_INPUTS, *ENGINE_CLIENT_INPUTS)
ENSEMBLE_OUTPUTS: Final = (TEXT_OUTPUT, FINISH_REASON, TOKEN_COUNTS, REQUEST_IDS)


def engine_name(name: str, version: int) -> str:
    """Name of the Triton model, and of the engine, that is version `version` of the model `name`."""
    return name if version == 1 else f"{name}@{version}"


def engine_version(engine: str) -> tuple[str, int]:
    """The inverse of `engine_name`."""
    name, _, version = engine.partition("@")
    return (name, int(version)) if version.isdecimal() else (engine, 1)


def step_model(engine: str, step: str) -> str:
    """Name of the Triton model that runs `step` of the ensemble `engine`."""
    return f"{engine}_{step}"


def step_engine(model: str) -> str:
    """The engine of which a Triton model runs a step; an encoder is one model, of the engine's own name."""
    engine, _, step = model.rpartition("_")
    return engine if step in STEPS else model
