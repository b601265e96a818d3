"""The interface of a runtime, which OpenVINO, TensorRT-LLM and replay implement.

A runtime knows token ids only: no text, no messages, no Triton.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from triton_repo.contract.errors import EngineFailed, EngineUnavailable
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.contract.sampling import Guide, Sampling
from triton_repo.contract.tensors import NOT_REPORTED, FinishReason


@dataclass(frozen=True, slots=True)
class Generation:
    """One sequence to generate.

    Attributes:
        key: unique among all generations of the engine; made by the engine model, never by a client.
        input_ids: the prompt, not empty.
        max_tokens: how many tokens may be generated; prompt and answer fit into `max_seq_len`.
        end_ids: any of these ends the generation (EOS and `stop_token_ids`; no EOS under `ignore_eos`).
        sampling: with the engine's defaults filled in.
        prompt_logprobs: the logprobs of the prompt are wanted too, with so many alternatives to each; None: not.
    """

    key: int
    input_ids: Sequence[int]
    max_tokens: int
    end_ids: tuple[int, ...]
    sampling: Sampling
    prompt_logprobs: int | None = None


class TokenDelta(NamedTuple):
    """What one generation gained in a step: new ids, in order, and why it ended, if it did.

    `token_ids` holds every sampled id, an end id included. `error` set means that this generation failed alone.
    `logprobs`, for a generation that asks for them, are those of `token_ids`; that of an end id may be missing.
    `prompt_logprobs` come with the first ids, one for each of the prompt; the first has none of its own.
    `cached_tokens` are those of the prompt that were in the KV cache already, or `NOT_REPORTED`.
    """

    key: int
    token_ids: Sequence[int] = ()
    finish_reason: FinishReason = ""
    error: EngineFailed | None = None
    logprobs: Sequence[TokenLogprob] = ()
    cached_tokens: int = NOT_REPORTED
    prompt_logprobs: Sequence[TokenLogprob] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a runtime is.

    Attributes:
        kv_cache_utilization: the share of the paged KV cache that live requests hold.
        kv_cache_blocks: how many that cache has, of `tokens_per_block`; 0 where there is none, or it is not known.
    """

    running: int
    waiting: int
    kv_cache_utilization: float
    kv_cache_blocks: int = 0
    tokens_per_block: int = 0


class Runtime(Protocol):
    """An engine with in-flight batching. One thread calls all of it.

    Between two steps any number of generations may join (`submit`) and leave (`cancel`) the batch.
    """

    def submit(self, generation: Generation) -> None:
        """Queue a generation; its deltas come from `step` until one has a finish reason or an error.

        Raises:
            EngineFailed: the engine rejects it; no delta follows.
            EngineUnavailable: its adapter was dropped on its way here; no delta follows.
        """

    def cancel(self, key: int) -> None:
        """Drop a generation and free what it holds by the next step; no delta of it follows.

        One that has ended, or never was, is no error.
        """

    def step(self) -> Sequence[TokenDelta]:
        """Advance the batch. An exception means that every live generation is lost."""

    def idle_s(self) -> float | None:
        """Seconds until `step` can yield something: 0 = now, None = not before the next `submit`."""

    def load(self) -> Load: ...

    def close(self) -> None: ...


@runtime_checkable
class AsynchronousRuntime(Runtime, Protocol):
    """A runtime that computes on threads of its own; `step` only hands over the deltas that have arrived."""

    def on_arrival(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, from any thread, whenever `step` has something new to hand over."""

    def last_work_s(self) -> float:
        """When, on the monotonic clock, it last showed that it computes: by a token, or an iteration without one."""


@runtime_checkable
class ReloadingRuntime(Runtime, Protocol):
    """A runtime that may have to load its model again, inside a step."""

    def loaded_s(self) -> float:
        """When, on the monotonic clock, it last had loaded its model; infinity while it does so. Any thread may ask."""


@runtime_checkable
class PreparingRuntime(Runtime, Protocol):
    """A runtime that has to do with a guide what takes long, before a generation with it is submitted."""

    def prepare(self, guide: Guide) -> None:
        """Any thread may call it; steps go on meanwhile."""


@runtime_checkable
class AdaptingRuntime(Runtime, Protocol):
    """A runtime that takes and drops adapters between two steps."""

    def open_adapter(self, name: str, directory: Path) -> Callable[[], None]:
        """Open the adapter in the directory. What is returned has requests find it, and is called between two steps.

        Any thread may call it; steps go on meanwhile, however long it takes.

        Raises:
            EngineFailed: it cannot be opened.
        """

    def close_adapter(self, name: str) -> None:
        """Drop an adapter that no generation has."""


def adapter_unloaded(name: str | None) -> EngineUnavailable:
    """Of a request whose adapter left before it was answered."""
    return EngineUnavailable(f"the adapter {name} was unloaded")
