"""One server that is compared, and the load that all of them get."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.load.connection import Target
from bench.load.distribution import Fixed
from bench.load.generator import Bounds, ClosedLoop
from bench.load.run import Plan, execute, run
from bench.load.summary import Summary
from bench.load.workload import Workload
from triton_repo.contract.errors import BenchError

WORDS: Final = 96  # with the bench model's tokenizer and chat template, 128 tokens give or take a few
NEW_TOKENS: Final = 64
WAVES: Final[Mapping[int, int]] = {1: 6, 8: 2, 32: 2}  # requests of each client in one round, by streams
_MOST_WAVES: Final = 2


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server under test; `pid` is the process whose CPU is counted, None for a server elsewhere.

    `ignore_eos` is for models that would end an answer: servers that know the parameter then all write as much.
    """

    name: str
    target: Target
    model: str
    pid: int | None = None
    ignore_eos: bool = False

    def measure(self, streams: int, round: int) -> Summary:
        """One round of the load. BenchError if a request fails: another number of tokens is no comparison."""
        load = Workload(
            model=self.model,
            prompt_tokens=Fixed(WORDS),
            output_tokens=Fixed(NEW_TOKENS),
            ignore_eos=self.ignore_eos,
            temperature=0,
            seed=round,
        )
        requests = streams * WAVES.get(streams, _MOST_WAVES)
        plan = Plan(self.target, load, Bounds(requests), warmup=streams, cpu_of=[self.pid] if self.pid else ())
        summary = execute(run(plan, ClosedLoop(streams)))
        if summary.failed:
            raise BenchError(f"{self.name}: {summary.failed} requests failed: {next(iter(summary.errors))}")
        return summary


@dataclass(frozen=True, slots=True)
class Score:
    """A server at one number of streams, medians over the rounds; `ratio` is of tokens/s, over the first server.

    A gap is the time between two chunks of a stream, `itl_ms` that between two tokens.
    """

    server: str
    streams: int
    tokens_per_s: float
    ratio: float
    ttft_ms: float | None
    itl_ms: float | None
    gap_p50_ms: float | None
    gap_p99_ms: float | None
    cpu_ms_per_token: float | None
    tokens_in: float
    tokens_out: float

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def compete(contestants: Sequence[Contestant], streams: int, rounds: int) -> Iterator[Score]:
    """All servers in turn, round by round, so that whatever else the machine does hits all alike."""
    played: list[list[Summary]] = [[] for _ in contestants]
    for round in range(rounds):
        order = [*range(len(contestants))]
        for index in order[round % len(order) :] + order[: round % len(order)]:
            played[index].append(contestants[index].measure(streams, round))
    first = [rate(summary) for summary in played[0]]
    for contestant, summaries in zip(contestants, played, strict=True):
        ratios = [rate(summary) / base for summary, base in zip(summaries, first, strict=True)]
        yield Score(
            server=contestant.name,
            streams=streams,
            tokens_per_s=statistics.median(map(rate, summaries)),
            ratio=statistics.median(ratios),
            ttft_ms=_median_ms(summary.ttft_s.percentiles[50] for summary in summaries),
            itl_ms=_median_ms(summary.itl_s.percentiles[50] for summary in summaries),
            gap_p50_ms=_median_ms(summary.gap_s.percentiles[50] for summary in summaries),
            gap_p99_ms=_median_ms(summary.gap_s.percentiles[99] for summary in summaries),
            cpu_ms_per_token=_median_ms(summary.server_cpu_s_per_token for summary in summaries),
            tokens_in=statistics.mean((summary.prompt_tokens or 0) / summary.succeeded for summary in summaries),
            tokens_out=statistics.mean((summary.completion_tokens or 0) / summary.succeeded for summary in summaries),
        )


def rate(summary: Summary) -> float:
    """Tokens a second."""
    if summary.output_tokens_per_s is None:
        raise BenchError(f"{summary.name}: the server reports no usage, so its tokens cannot be counted")
    return summary.output_tokens_per_s


def _median_ms(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) * 1000 if known else None
