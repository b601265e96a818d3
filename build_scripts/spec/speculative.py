"""`[speculative]` of a spec, and what it asks of the rest of the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.contract.engine_config import SpeculativeConfig, SpeculativeMode, unsupported_with_candidates
from triton_repo.contract.sampling import Sampling

Complaint = tuple[str, object, str]  # key, value and the rule that is broken

# The keys of each mode, and what each is where the spec does not say; those of lookahead are TensorRT-LLM's own (1.2).
_DEFAULTS: Final[Mapping[SpeculativeMode, Mapping[str, int]]] = {
    "prompt_lookup": {"num_assistant_tokens": 5, "max_ngram_size": 3},
    "draft": {"num_assistant_tokens": 5},
    "lookahead": {"max_window_size": 4, "max_ngram_size": 3, "max_verification_set_size": 4},
}
_MODEL_OF_DRAFT: Final = "draft_model"
# `trtllm-build` (1.2) compiles for external drafts, lookahead, Medusa and EAGLE. Of these the LLM API drives the last
# three, and the last two need heads that are trained for the model.
_MODES: Final[Mapping[str, tuple[SpeculativeMode, ...]]] = {
    "runtime = openvino": ("prompt_lookup", "draft"),
    "build.flow = compiled": ("lookahead",),
    "build.flow = pytorch": ("prompt_lookup", "draft"),
}

_Guesses = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The engine's other settings that speculative decoding must go with."""

    runtime: str
    flow: str
    max_batch_size: int
    max_num_tokens: int
    pipeline_parallel: int
    max_beam_width: int
    has_adapters: bool
    chunked: bool
    guided_decoding_backend: str | None
    gathers_logits: bool
    sampling: Sampling


class SpeculativeSection(BaseModel):
    """`[speculative]`: guess tokens ahead at little cost, and let the model verify them in one iteration.

    `mode` `prompt_lookup` guesses what followed the last `max_ngram_size` (3) tokens where they stood before, in the
    prompt or the answer; `draft` asks a small model of the same vocabulary, `draft_model`, a directory or a hub id as
    `model` is. Both guess `num_assistant_tokens` (5) per iteration. A change of `draft_model` needs a new build.
    `lookahead` lets the model itself guess `max_window_size` (4) n-grams of `max_ngram_size` (3) tokens while it
    verifies up to `max_verification_set_size` (4) that it guessed before; the engine is compiled for their product.
    Runtime `tensorrt_llm` does `lookahead` where it is compiled, and the others in its PyTorch flow.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    mode: SpeculativeMode
    num_assistant_tokens: _Guesses | None = None
    max_ngram_size: _Guesses | None = None
    max_window_size: _Guesses | None = None
    max_verification_set_size: _Guesses | None = None
    draft_model: Annotated[str, Field(min_length=1)] | None = None

    @property
    def num_candidates(self) -> int:
        """Tokens that one iteration verifies beside the one that it is sure of.

        Of lookahead: `max_draft_len`, by the formula of `LookaheadDecodingConfig::calculateSpeculativeResourceTuple`
        (TensorRT-LLM 1.2, cpp/tensorrt_llm/executor; also in examples/lookahead/README.md).
        """
        return self.config().num_assistant_tokens

    def config(self) -> SpeculativeConfig:
        """The section as the engine reads it."""
        values = {key: getattr(self, key) or default for key, default in _DEFAULTS[self.mode].items()}
        if self.mode == "lookahead":
            window, ngram = values["max_window_size"], values["max_ngram_size"]
            guesses = values["max_verification_set_size"]
            values["num_assistant_tokens"] = ngram - 2 + (window - 1 + guesses) * (ngram - 1)
        return SpeculativeConfig.model_validate({"mode": self.mode, **values})

    def own_complaint(self) -> Complaint | None:
        """What is broken within the section."""
        if self.mode == "draft" and self.draft_model is None:
            return "speculative.draft_model", None, "mode draft needs a small checkpoint of the same vocabulary"
        allowed = (*_DEFAULTS[self.mode], *((_MODEL_OF_DRAFT,) if self.mode == "draft" else ()))
        for key in (*_DEFAULTS["prompt_lookup"], *_DEFAULTS["lookahead"], _MODEL_OF_DRAFT):
            if (value := getattr(self, key)) is not None and key not in allowed:
                return f"speculative.{key}", value, f"is not for mode {self.mode}, which has {', '.join(allowed)}"
        if self.mode == "lookahead" and self.max_ngram_size == 1:
            return "speculative.max_ngram_size", 1, "must be ≥ 2 for mode lookahead, which else guesses nothing"
        return None

    def engine_complaint(self, around: Surroundings) -> Complaint | None:
        """What of the engine's other settings does not go with speculative decoding."""
        if around.runtime == "replay":
            return "speculative", "[…]", "runtime replay has no model: remove the [speculative] table"
        where = f"build.flow = {around.flow}" if around.runtime == "tensorrt_llm" else f"runtime = {around.runtime}"
        if self.mode not in _MODES[where]:
            return "speculative.mode", self.mode, f"must be {' or '.join(_MODES[where])} where {where}"
        needed = around.max_batch_size * (1 + self.num_candidates)
        if around.max_num_tokens < needed:
            rule = f"must be ≥ {needed}: build.max_batch_size × (1 + {self.num_candidates} guesses)"
            return "build.max_num_tokens", around.max_num_tokens, rule
        # OpenVINO GenAI 2026.4: with a draft, prompts in chunks get the wrong answers; with prompt lookup, whole
        # prompts make a step fail.
        if around.runtime == "openvino" and around.chunked != (self.mode == "prompt_lookup"):
            rule = f"must be {str(not around.chunked).lower()} where speculative.mode = {self.mode}"
            return "serve.enable_chunked_context", around.chunked, rule
        for name in unsupported_with_candidates(around.runtime, self.mode):
            if (value := getattr(around.sampling, name)) is not None:
                return f"sampling.{name}", value, "is not possible with speculative decoding: remove the key"
        return self._tensorrt_llm_complaint(around) if around.runtime == "tensorrt_llm" else None

    def _tensorrt_llm_complaint(self, around: Surroundings) -> Complaint | None:
        """What TensorRT-LLM (1.2) does not do beside candidates, or is not known to do.

        Its PyTorch flow refuses to draft with pipeline parallelism (NVIDIA/TensorRT-LLM issue 9009) and fails with
        adapters (issue 12617, cured in 1.3); examples/lookahead lists tensor parallelism, and neither of the two.
        """
        if around.pipeline_parallel > 1:
            return "build.pipeline_parallel", around.pipeline_parallel, "must be 1 with speculative decoding"
        if around.has_adapters:
            return "build.lora", "[…]", "is not possible with speculative decoding: remove one of the tables"
        return _lookahead_complaint(around) if self.mode == "lookahead" else None


def _lookahead_complaint(around: Surroundings) -> Complaint | None:
    if around.max_beam_width > 1:
        return "build.compile.max_beam_width", around.max_beam_width, "must be 1 for mode lookahead"
    backend = around.guided_decoding_backend
    if backend is not None:
        return "serve.guided_decoding_backend", backend, "is not possible with mode lookahead: remove the key"
    if around.gathers_logits:
        rule = "must be false for mode lookahead, which has no logprobs to compute from them"
        return "serve.gather_generation_logits", True, rule
    return None
