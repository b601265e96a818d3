"""The choices: two settings of one engine, side by side on a load."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.choices.loads import (
    Load,
    copying,
    decode,
    free_text,
    long_context,
    long_prompts_arrive,
    other_system_prompts,
    same_system_prompt,
)

INT8: Final = "llama-90m"
DRAFTED: Final = "llama-90m-draft"


@dataclass(frozen=True, slots=True)
class Side:
    """An engine of `bench/engines/`, and what of its `engine.json` is to be otherwise."""

    label: str
    engine: str = INT8
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """`other` instead of `usual`, on each of the loads; `setting` is its key in a spec."""

    name: str
    setting: str
    usual: Side
    other: Side
    loads: Mapping[str, Load]


_ONE: Final = {"1 stream": decode(1)}
_STREAMS: Final = {**_ONE, "8 streams": decode(8)}
_ARRIVALS: Final = {"4 streams, long prompts arrive": long_prompts_arrive(4)}
_GAPS: Final = {
    **{f"{streams} streams, long prompts arrive": long_prompts_arrive(streams) for streams in (1, 8, 32)},
    **{f"{streams} streams": decode(streams) for streams in (1, 8, 32)},
}
_CHATS: Final = {
    "8 chats, one system prompt": same_system_prompt(8),
    "8 chats, nothing in common": other_system_prompts(8),
}
_TEXTS: Final = {
    "1 stream, copying": copying(1),
    "1 stream, free text": free_text(1),
    "8 streams, copying": copying(8),
    "8 streams, free text": free_text(8),
}
_DRAFTS: Final = {
    "1 stream, guessable": decode(1),
    "1 stream, free text": free_text(1),
    "8 streams, guessable": decode(8),
}

_UNBOUNDED: Final = {"max_gap_s": 0.0}  # a step holds `max_num_tokens`, whatever it takes
_WIDE: Final = {**_UNBOUNDED, "max_num_tokens": 2048}  # room for any prompt of a load in one iteration
_FORGETFUL: Final = {**_WIDE, "enable_kv_cache_reuse": False}  # the usual side has seen the prompts that it made
_LOOKUP: Final = {"mode": "prompt_lookup", "num_assistant_tokens": 5, "max_ngram_size": 3}


def choices() -> Sequence[Choice]:
    """All of them, in the order in which they are told."""
    return [*_resources(), *_scheduling(), *_cache(), *_speculation(), *_numbers()]


def _resources() -> Iterator[Choice]:
    cores = len(os.sched_getaffinity(0))
    usual = Side(f"{cores}", settings={"num_threads": cores})
    if cores > 1:
        half = cores // 2
        yield Choice("threads", "serve.num_threads", usual, Side(f"{half}", settings={"num_threads": half}), _STREAMS)


def _scheduling() -> Iterator[Choice]:
    usual = Side("512", settings={**_UNBOUNDED, "max_num_tokens": 512})
    for tokens in (64, 256, 2048):
        other = Side(f"{tokens}", settings={**_UNBOUNDED, "max_num_tokens": tokens})
        yield Choice("max_num_tokens", "build.max_num_tokens", usual, other, _ARRIVALS)
    for gap_ms in (400, 200, 100):
        bounded = Side(f"{gap_ms}", settings={"max_gap_s": gap_ms / 1000})
        yield Choice("max_gap", "serve.max_gap_ms", Side("0", settings=_UNBOUNDED), bounded, _GAPS)
    whole = Side("off", settings={**_WIDE, "enable_chunked_context": False})
    yield Choice("chunked", "serve.enable_chunked_context", Side("on, 512", settings=usual.settings), whole, _ARRIVALS)


def _cache() -> Iterator[Choice]:
    off = Side("off", settings={"enable_kv_cache_reuse": False})
    yield Choice("reuse", "serve.enable_kv_cache_reuse", Side("on"), off, _CHATS)
    loads = {**_STREAMS, "4 streams behind 1,024 tokens": long_context(4)}
    wide = Side("float32", settings={"kv_cache_dtype": "float32"})
    yield Choice("kv_cache", "serve.kv_cache_dtype", Side("u8"), wide, loads)


def _speculation() -> Iterator[Choice]:
    usual = Side("off", settings=_FORGETFUL)
    lookup = Side("prompt_lookup, 5", settings={**_FORGETFUL, "speculative": _LOOKUP})
    yield Choice("lookup", "speculative.mode", usual, lookup, _TEXTS)
    alone = Side("off", DRAFTED, {**_FORGETFUL, "speculative": None, "enable_chunked_context": True})
    for tokens in (3, 5):
        section = {"mode": "draft", "num_assistant_tokens": tokens}
        draft = Side(f"draft, {tokens}", DRAFTED, {**_FORGETFUL, "speculative": section})
        yield Choice("draft", "speculative.mode", alone, draft, _DRAFTS)


def _numbers() -> Iterator[Choice]:
    usual = Side("int8")
    plain = Side("none", "llama-90m-float", {"kv_cache_dtype": "u8"})
    yield Choice("weights", "build.quantization", usual, plain, _STREAMS)
    yield Choice("weights", "build.quantization", usual, Side("int4", "llama-90m-int4"), _STREAMS)
    for group in (0, 128):
        other = Side(f"{group}", settings={"dynamic_quantization_group_size": group})
        yield Choice("activations", "serve.dynamic_quantization_group_size", Side("32"), other, _STREAMS)
    yield Choice("dtype", "build.dtype", Side("float32"), Side("bfloat16", settings={"dtype": "bfloat16"}), _STREAMS)
