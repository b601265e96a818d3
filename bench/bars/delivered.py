"""Bar 1: tokens delivered through HTTP over tokens of the bare pipeline, same engine, prompts and lengths.

The two take turns, wave by wave, so that whatever else the machine does hits both alike; each wave has prompts that
no prefix cache has seen.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Final

import orjson

from bench.answer import Record
from bench.bars.checkpoint import SHAPE
from bench.bars.engines import ENGINES, LLAMA
from bench.bars.finding import Finding
from bench.bars.raw import Prompts, RawPipeline, Wave
from bench.child_server import ROOT
from bench.connection import Client, Target
from bench.run import execute
from bench.server import build, serving
from bench.workload import random_ids
from triton_repo.errors import BenchError

PROMPT_TOKENS: Final = 128
NEW_TOKENS: Final = 64
WAVES: Final[Mapping[int, int]] = {1: 24, 8: 9, 32: 5, 64: 3}  # by streams: about half a minute each
RATIOS: Final[Mapping[int, float]] = {1: 0.95, 8: 0.95, 32: 0.93, 64: 0.93}
TTFT_OVERHEAD_MS: Final = 5.0

_CHECKPOINT: Final = ENGINES / "checkpoint-90m"


@dataclass(frozen=True, slots=True)
class Level:
    """All waves of one number of streams."""

    streams: int
    raw: Sequence[Wave]
    http: Sequence[Wave]

    @property
    def ratio(self) -> float:
        """The median over the rounds, so that a disturbance of one wave does not decide."""
        return statistics.median(rate(http) / rate(raw) for raw, http in zip(self.raw, self.http, strict=True))


def measure() -> Iterator[Finding]:
    if not _CHECKPOINT.exists():
        subprocess.run([sys.executable, "-m", "bench.bars.checkpoint", str(_CHECKPOINT)], cwd=ROOT, check=True)
    build(LLAMA)
    with serving(LLAMA) as server, RawPipeline(ENGINES / "built" / "llama-90m") as raw:
        for streams in WAVES:
            yield from findings(level(streams, raw, server.target))


def level(streams: int, raw: RawPipeline, target: Target) -> Level:
    random = Random(streams)  # noqa: S311 - repeatable is what it must be
    warm_up, *rounds = [
        [random_ids(random, PROMPT_TOKENS, SHAPE["vocab_size"]) for _ in range(streams)]
        for _ in range(WAVES[streams] + 1)
    ]
    raw.wave(warm_up, NEW_TOKENS // 8)
    http_wave(target, warm_up, NEW_TOKENS // 8)
    waves = [(raw.wave(prompts, NEW_TOKENS), http_wave(target, prompts, NEW_TOKENS)) for prompts in rounds]
    return Level(streams, [wave for wave, _ in waves], [wave for _, wave in waves])


def findings(level: Level) -> Iterator[Finding]:
    raw, http = [rate(wave) for wave in level.raw], [rate(wave) for wave in level.http]
    details = {"raw_tokens_per_s": raw, "http_tokens_per_s": http}
    medians = f"{statistics.median(http):.0f} / {statistics.median(raw):.0f} tokens/s"
    what = f"delivered / raw, {level.streams} streams ({medians})"
    yield Finding(1, what, level.ratio, "", "≥", RATIOS[level.streams], details)
    if level.streams == 1:
        raw_ms, http_ms = (ttft_ms(waves) for waves in (level.raw, level.http))
        what = f"time to first token over raw ({http_ms:.1f} / {raw_ms:.1f} ms), median"
        yield Finding(1, what, http_ms - raw_ms, "ms", "≤", TTFT_OVERHEAD_MS)


def rate(wave: Wave) -> float:
    """Tokens a second."""
    return wave.tokens / wave.elapsed_s


def ttft_ms(waves: Sequence[Wave]) -> float:
    return statistics.median(ttft_s for wave in waves for ttft_s in wave.ttft_s) * 1000


def http_wave(target: Target, prompts: Prompts, max_tokens: int) -> Wave:
    """The same wave through the front door."""
    started = time.perf_counter()
    records = execute(_ask_all(target, [_body(prompt, max_tokens) for prompt in prompts]))
    elapsed_s = max(record.end_s for record in records) - started
    failed = [record.error for record in records if record.error]
    if failed:
        raise BenchError(f"{len(failed)} of {len(records)} requests failed, the first with: {failed[0]}")
    tokens = sum(record.completion_tokens or 0 for record in records)
    return Wave(elapsed_s, tokens, [record.ttft_s for record in records if record.ttft_s is not None])


async def _ask_all(target: Target, bodies: Sequence[bytes]) -> list[Record]:
    with closing(Client(target, timeout_s=300)) as client:
        return list(await asyncio.gather(*(client.ask("/v1/completions", body) for body in bodies)))


def _body(prompt: Sequence[int], max_tokens: int) -> bytes:
    return orjson.dumps(
        {
            "model": "llama-90m",
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
