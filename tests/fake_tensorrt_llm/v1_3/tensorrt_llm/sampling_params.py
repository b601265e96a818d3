"""Fields and checks at construction: docs/source/features/sampling.md@05ce57bc and tensorrt_llm/sampling_params.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tensorrt_llm._stand_in.guides import GuidedDecodingParams


@dataclass(slots=True, kw_only=True)
class SamplingParams:
    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int = 32
    bad: Any = None
    bad_token_ids: list[int] | None = None
    stop: Any = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    embedding_bias: Any = None
    logits_processor: Any = None
    apply_batched_logits_processor: bool = False
    n: int = 1
    best_of: int | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    top_p: float | None = None
    top_p_min: float | None = None
    top_p_reset_ids: int | None = None
    top_p_decay: float | None = None
    seed: int | None = None
    temperature: float | None = None
    min_tokens: int | None = None
    beam_search_diversity_rate: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    prompt_ignore_length: int | None = None
    length_penalty: float | None = None
    early_stopping: int | None = None
    no_repeat_ngram_size: int | None = None
    min_p: float | None = None
    beam_width_array: list[int] | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprobs_simple_format: bool = False
    prompt_logprobs_simple_format: bool = False
    logprobs_mode: str | None = None
    return_context_logits: bool = False
    return_generation_logits: bool = False
    exclude_input_from_output: bool = True
    return_encoder_output: bool = False
    return_perf_metrics: bool = False
    additional_model_outputs: list[str] | None = None
    guided_decoding: GuidedDecodingParams | None = None
    thinking_token_budget: int | None = None
    ignore_eos: bool = False
    detokenize: bool = True
    add_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    _stream_interval: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.pad_id is None:
            self.pad_id = self.end_id
        self.best_of = self.best_of or self.n
        allowed = {
            "top_p": self.top_p is None or 0 <= self.top_p <= 1,
            "top_k": self.top_k is None or self.top_k >= 0,
            "min_p": self.min_p is None or 0 <= self.min_p <= 1,
            "temperature": self.temperature is None or self.temperature >= 0,
            "best_of": self.best_of >= self.n,
            "logprobs": self.logprobs is None or 0 <= self.logprobs <= 100,
            "logprobs_simple_format": not self.logprobs_simple_format or self.logprobs == 0,
        }
        for name, holds in allowed.items():
            if not holds:
                raise ValueError(f"require {name} in its range, got {getattr(self, name)}")
        if self.guided_decoding is not None and len(self.guided_decoding.guides()) > 1:
            raise ValueError("Only one guide can be used for a request")

    def changes_logits(self) -> bool:
        """By what a sampler within the model does not know."""
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
        neutral = (1.0, 0.0, 0.0)
        penalized = any(one not in (None, none) for one, none in zip(penalties, neutral, strict=True))
        return penalized or bool(self.min_p) or self.embedding_bias is not None

    def complaint(self) -> str | None:
        """What is left to the C++ part, once the request has left Python."""
        allowed = {
            "seed": self.seed is None or 0 <= self.seed < 2**64,
            "min_tokens": self.min_tokens is None or self.min_tokens >= 0,
            "repetition_penalty": self.repetition_penalty is None or self.repetition_penalty > 0,
        }
        return next((f"Assertion failed: {name}" for name, holds in allowed.items() if not holds), None)
