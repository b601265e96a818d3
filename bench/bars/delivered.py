"""Bar 1: tokens delivered through HTTP over tokens of the bare pipeline, same engine, prompts and lengths.

The two take turns, wave by wave, so that whatever else the machine does hits both alike; each wave has prompts that
no prefix cache has seen. Two processes with the same pipeline differ by up to a tenth, by where in memory each happens
to have its weights, as long as they live: so both are started several times.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Final

import orjson

from bench.bars.checkpoint import SHAPE
from bench.bars.engines import ENGINES, LLAMA, llama_checkpoint
from bench.bars.finding import Finding
from bench.bars.raw import Prompts, RawPipeline, Wave
from bench.load.connection import Client, Target
from bench.load.run import execute
from bench.load.workload import random_ids
from bench.server import build, serving
from triton_repo.contract.errors import BenchError

PROMPT_TOKENS: Final = 128
NEW_TOKENS: Final = 64
STARTS: Final = 5
WAVES: Final[Mapping[int, int]] = {1: 6, 8: 2, 32: 1, 64: 1}  # after each start, by streams
RATIOS: Final[Mapping[int, float]] = {1: 0.95, 8: 0.95, 32: 0.93, 64: 0.93}
TTFT_OVERHEAD_MS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Start:
    """The waves of one number of streams after one start, in pairs."""

    raw: Sequence[Wave]
    http: Sequence[Wave]

    @property
    def ratio(self) -> float:
        """The median over the pairs, so that a disturbance of one wave does not decide."""
        return statistics.median(rate(http) / rate(raw) for raw, http in zip(self.raw, self.http, strict=True))


def measure() -> Iterator[Finding]:
    llama_checkpoint()
    build(LLAMA)
    random = Random(1)  # noqa: S311 - repeatable is what it must be
    starts: dict[int, list[Start]] = {streams: [] for streams in WAVES}
    for _ in range(STARTS):
        with serving(LLAMA) as server, RawPipeline(ENGINES / "built" / "llama-90m") as raw:
            for streams in WAVES:
                starts[streams].append(execute(take_turns(streams, raw, server.target, random)))
    for streams in WAVES:
        yield from findings(streams, starts[streams])


async def take_turns(streams: int, raw: RawPipeline, target: Target, random: Random) -> Start:
    warm_up, *rounds = [
        [random_ids(random, PROMPT_TOKENS, SHAPE["vocab_size"]) for _ in range(streams)]
        for _ in range(WAVES[streams] + 1)
    ]
    with closing(Client(target, timeout_s=300)) as client:
        raw.wave(warm_up, NEW_TOKENS // 8)
        await http_wave(client, warm_up, NEW_TOKENS // 8)
        waves = [(raw.wave(prompts, NEW_TOKENS), await http_wave(client, prompts, NEW_TOKENS)) for prompts in rounds]
    return Start([wave for wave, _ in waves], [wave for _, wave in waves])


def findings(streams: int, starts: Sequence[Start]) -> Iterator[Finding]:
    """The ratio is the mean over the starts: none of them is more right than the others."""
    raw, http = [wave for start in starts for wave in start.raw], [wave for start in starts for wave in start.http]
    raw_rates, http_rates = [rate(wave) for wave in raw], [rate(wave) for wave in http]
    ratios = [start.ratio for start in starts]
    details = {"ratios": ratios, "raw_tokens_per_s": raw_rates, "http_tokens_per_s": http_rates}
    medians = f"{statistics.median(http_rates):.0f} / {statistics.median(raw_rates):.0f} tokens/s"
    what = f"delivered / raw, {streams} streams ({medians}), mean of {len(starts)} starts"
    yield Finding(1, what, statistics.mean(ratios), "", "≥", RATIOS[streams], details)
    if streams == 1:
        raw_ms, http_ms = ttft_ms(raw), ttft_ms(http)
        what = f"time to first token over raw ({http_ms:.1f} / {raw_ms:.1f} ms), median"
        yield Finding(1, what, http_ms - raw_ms, "ms", "≤", TTFT_OVERHEAD_MS)


def rate(wave: Wave) -> float:
    """Tokens a second."""
    return wave.tokens / wave.elapsed_s


def ttft_ms(waves: Sequence[Wave]) -> float:
    return statistics.median(ttft_s for wave in waves for ttft_s in wave.ttft_s) * 1000


async def http_wave(client: Client, prompts: Prompts, max_tokens: int) -> Wave:
    """The same wave through the front door, on connections that are reused as those of OpenAI's clients are."""
    bodies = [_body(prompt, max_tokens) for prompt in prompts]
    started = time.perf_counter()
    records = await asyncio.gather(*(client.ask("/v1/completions", body) for body in bodies))
    elapsed_s = max(record.end_s for record in records) - started
    failed = [record.error for record in records if record.error]
    if failed:
        raise BenchError(f"{len(failed)} of {len(records)} requests failed, the first with: {failed[0]}")
    tokens = sum(record.completion_tokens or 0 for record in records)
    return Wave(elapsed_s, tokens, [record.ttft_s for record in records if record.ttft_s is not None])


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
