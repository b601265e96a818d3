"""What a runtime can do, in one flow: the type of the tables in `runtimes.py`, and what follows for one engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from triton_repo.contract.engine_config import Flow, GuidedDecodingBackend, SpeculativeMode
from triton_repo.contract.llm_api import LlmApi
from triton_repo.contract.sampling import (
    ADAPTER_FIELD,
    CACHE_SALT_FIELD,
    GUIDE_FIELDS,
    LOGPROBS_FIELD,
    PRIORITY_FIELD,
    GuideType,
)

Runtime = Literal["openvino", "tensorrt_llm", "replay", "embed"]

# Key of a spec, with its section ("build.flow") -> the values that it may have. No values: the key must be absent.
Allowed = Mapping[str, tuple[object, ...]]

# Sampling fields that only some runtimes have.
OPTIONAL_FIELDS: Final = (PRIORITY_FIELD, CACHE_SALT_FIELD)


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding in one mode.

    Attributes:
        unsupported: sampling fields that requests (and the spec) must leave alone.
        allowed: what the mode demands of other keys of the spec.
        logprobs: whether requests may ask for them.
    """

    unsupported: tuple[str, ...]
    allowed: Allowed
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One runtime, in one flow.

    Attributes:
        keys: what a spec may say for it, beyond the keys that every runtime takes.
        flags: options of `conch build` that mean something for it, beyond those that every runtime takes.
        required: keys that a spec must say.
        allowed: keys of which it takes only some values.
        reasons: why, for keys of `allowed` where that helps a person.
        defaults: of keys of the spec, where they are not those of every runtime.
        flush_interval_ms: the default of `serve.flush_interval_ms`.
        few_streams_flush_interval_ms: the same while few streams are live; None makes no difference.
        max_gap_ms: the default of `serve.max_gap_ms`.
        speculation: by mode.
        guides: types of guides, by the library that enforces them.
        built_in_guides: that library where every engine has it, and the spec need not name one.
        logprobs_key: the key that must be true for logprobs; None where there always are.
        max_logprobs: how many alternatives to a token it can name.
        max_prompt_logprobs: the same of a prompt, without a key of the spec; None: no logprobs of prompts.
        logit_bias: requests may change the logits of tokens.
        api: the LLM API of TensorRT-LLM that the table is for; None for other runtimes.
        optional_fields: those of `OPTIONAL_FIELDS` that requests may set.
        repeatable_seeds: a request with a seed gets the same answer again, whatever else runs in its batch.
        counts_cached_tokens: it reports how many tokens of a prompt it had in its cache.
    """

    runtime: Runtime
    keys: frozenset[str]
    allowed: Allowed
    flags: frozenset[str] = frozenset()
    flow: Flow = "compiled"
    required: tuple[str, ...] = ()
    flush_interval_ms: float = 10.0
    few_streams_flush_interval_ms: float | None = None
    max_gap_ms: float = 0.0
    reasons: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    speculation: Mapping[SpeculativeMode, Speculation] = field(default_factory=dict)
    guides: Mapping[GuidedDecodingBackend, tuple[GuideType, ...]] = field(default_factory=dict)
    built_in_guides: GuidedDecodingBackend | None = None
    logprobs_key: str | None = None
    max_logprobs: int = 0
    max_prompt_logprobs: int | None = None
    logit_bias: bool = False
    api: LlmApi | None = None
    optional_fields: tuple[str, ...] = ()
    repeatable_seeds: bool = True
    counts_cached_tokens: bool = False

    def unsupported(
        self, mode: SpeculativeMode | None, backend: GuidedDecodingBackend | None, *, lora: bool, logprobs: bool
    ) -> tuple[str, ...]:
        """Sampling fields that requests to one engine must leave alone; `logprobs` is the value of `logprobs_key`."""
        speculation = self.speculation[mode] if mode else None
        has_logprobs = (self.logprobs_key is None or logprobs) and (speculation is None or speculation.logprobs)
        return (
            *(speculation.unsupported if speculation else ()),
            *(() if backend or self.built_in_guides else GUIDE_FIELDS),
            *(() if lora else (ADAPTER_FIELD,)),
            *(() if has_logprobs else (LOGPROBS_FIELD,)),
            *(name for name in OPTIONAL_FIELDS if name not in self.optional_fields),
        )

    def biases_logits(self, mode: SpeculativeMode | None, *, vocab_size: int, tensor_parallel: int) -> bool:
        """Whether requests to one engine may have a `logit_bias`. Speculation verifies tokens by the bare logits, and
        1.2 ends with an error where its ranks fill up the vocabulary, to which the bias does not reach."""
        return self.logit_bias and mode is None and (self.api != "1.2" or vocab_size % tensor_parallel == 0)

    def prompt_alternatives(self, mode: SpeculativeMode | None) -> int | None:
        """`max_prompt_logprobs` of one engine."""
        return self.max_prompt_logprobs if mode is None else None
