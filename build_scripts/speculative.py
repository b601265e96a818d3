"""`[speculative]` of a spec, and what it asks of the rest of the spec."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_repo.engine.config import UNSUPPORTED_WITH_CANDIDATES, SpeculativeConfig
from triton_repo.sampling import Sampling

MAX_NGRAM_SIZE: Final = 3
# `trtllm-build` (1.2) compiles for external drafts, lookahead, Medusa and EAGLE. The LLM API drives the last three
# alone, and their decoders know neither the temperature nor the penalties of a request.
_NEEDS_PYTORCH: Final = (
    "needs build.flow = pytorch where runtime = tensorrt_llm: what a compiled engine can verify is not served with the "
    "sampling that requests ask for"
)


class SpeculativeSection(BaseModel):
    """`[speculative]`: guess tokens ahead at little cost, and let the model verify them in one iteration.

    `mode` `prompt_lookup` guesses what followed the last `max_ngram_size` (3) tokens where they stood before, in the
    prompt or the answer; `draft` asks a small model of the same vocabulary, `draft_model`, a directory or a hub id as
    `model` is. `num_assistant_tokens` are guessed per iteration. A change of `draft_model` needs a new build.
    Runtime `tensorrt_llm` does both in its PyTorch flow alone.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    mode: Literal["prompt_lookup", "draft"]
    num_assistant_tokens: Annotated[int, Field(ge=1, le=64)] = 5
    max_ngram_size: Annotated[int, Field(ge=1, le=64)] | None = None
    draft_model: Annotated[str, Field(min_length=1)] | None = None

    def config(self) -> SpeculativeConfig:
        """The section as the engine reads it."""
        ngram = (self.max_ngram_size or MAX_NGRAM_SIZE) if self.mode == "prompt_lookup" else None
        return SpeculativeConfig(mode=self.mode, num_assistant_tokens=self.num_assistant_tokens, max_ngram_size=ngram)

    def own_complaint(self) -> tuple[str, object, str] | None:
        """Key, value and rule that is broken within the section."""
        draft, ngram = self.draft_model, self.max_ngram_size
        if self.mode == "draft" and draft is None:
            return "speculative.draft_model", None, "mode draft needs a small checkpoint of the same vocabulary"
        if self.mode == "prompt_lookup" and draft is not None:
            return "speculative.draft_model", draft, "mode prompt_lookup asks no model: remove the key"
        if self.mode == "draft" and ngram is not None:
            return "speculative.max_ngram_size", ngram, "mode draft looks nothing up: remove the key"
        return None

    def engine_complaint(  # noqa: PLR0913 - the values that the rules tie together
        self, *, runtime: str, flow: str, max_batch_size: int, max_num_tokens: int, chunked: bool, sampling: Sampling
    ) -> tuple[str, object, str] | None:
        """Key, value and rule of the engine's other settings that does not go with speculative decoding."""
        if runtime not in UNSUPPORTED_WITH_CANDIDATES:
            return (
                "speculative",
                "[…]",
                f"runtime {runtime} has no model: remove the [speculative] table",
            )
        if runtime == "tensorrt_llm" and flow == "compiled":
            return "speculative", "[…]", _NEEDS_PYTORCH
        needed = max_batch_size * (1 + self.num_assistant_tokens)
        if max_num_tokens < needed:
            rule = f"must be ≥ {needed}: build.max_batch_size × (1 + speculative.num_assistant_tokens)"
            return "build.max_num_tokens", max_num_tokens, rule
        # OpenVINO GenAI 2026.4: with a draft, prompts in chunks get the wrong answers; with prompt lookup, whole
        # prompts make a step fail.
        if runtime == "openvino" and chunked != (self.mode == "prompt_lookup"):
            rule = f"must be {str(not chunked).lower()} where speculative.mode = {self.mode}"
            return "serve.enable_chunked_context", chunked, rule
        for name in UNSUPPORTED_WITH_CANDIDATES[runtime]:
            if (value := getattr(sampling, name)) is not None:
                return f"sampling.{name}", value, "is not possible with speculative decoding: remove the key"
        return None
