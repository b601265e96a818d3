"""`[speculative]` of a spec: the mode of speculative decoding and its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from build_scripts.spec.errors import Problem
from triton_repo.contract.engine_config import SpeculativeConfig, SpeculativeMode

# The keys of each mode, and what each is where the spec does not say; those of lookahead are TensorRT-LLM's own (1.2).
_DEFAULTS: Final[Mapping[SpeculativeMode, Mapping[str, int]]] = {
    "prompt_lookup": {"num_assistant_tokens": 5, "max_ngram_size": 3},
    "draft": {"num_assistant_tokens": 5},
    "lookahead": {"max_window_size": 4, "max_ngram_size": 3, "max_verification_set_size": 4},
}
_MODEL_OF_DRAFT: Final = "draft_model"
_Guesses = Annotated[int, Field(ge=1, le=64)]


class SpeculativeSection(BaseModel):
    """`[speculative]`: guess tokens ahead at little cost, and let the model verify them in one iteration.

    `mode` `prompt_lookup` guesses the tokens that followed an earlier occurrence of the last `max_ngram_size` (3)
    tokens, in the prompt or the answer; `draft` asks a small model of the same vocabulary, `draft_model`, a directory
    or a hub id like `model`. Both guess `num_assistant_tokens` (5) per iteration. Another `draft_model` needs a new
    build. `lookahead` lets the model itself guess `max_window_size` (4) n-grams of `max_ngram_size` (3) tokens while
    it verifies up to `max_verification_set_size` (4) earlier guesses; the engine is compiled for their product.
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
        """Tokens that one iteration verifies in addition to the one that is certain.

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

    @model_validator(mode="after")
    def _keys_of_the_mode(self) -> Self:
        for problem in self._problems():
            raise problem.as_pydantic_error()
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.mode == "draft" and self.draft_model is None:
            rule = "mode draft needs a small checkpoint of the same vocabulary"
            yield Problem("speculative.draft_model", None, rule)
        allowed = (*_DEFAULTS[self.mode], *((_MODEL_OF_DRAFT,) if self.mode == "draft" else ()))
        for key in (*_DEFAULTS["prompt_lookup"], *_DEFAULTS["lookahead"], _MODEL_OF_DRAFT):
            if (value := getattr(self, key)) is not None and key not in allowed:
                rule = f"is not for mode {self.mode}, which has {', '.join(allowed)}"
                yield Problem(f"speculative.{key}", value, rule)
        if self.mode == "lookahead" and self.max_ngram_size == 1:
            rule = "must be ≥ 2 for mode lookahead: with 1 it guesses nothing"
            yield Problem("speculative.max_ngram_size", 1, rule)
