"""`python -m bench.choices.gaps [--model smollm2]`: how evenly streams arrive, with some settings and with others.

Two `conch serve` with one engine, whose `[serve]` differs, take turns wave by wave, so that whatever else the machine
does hits both alike; both are started several times, since two processes with the same pipeline differ by their luck.
In each wave some streams begin together; with `--arrivals`, long prompts arrive meanwhile, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import orjson
from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.bars.checkpoint import SHAPE
from bench.bars.engines import ENGINES, llama_checkpoint
from bench.load.answer import Record
from bench.load.connection import Client
from bench.load.run import execute
from bench.load.workload import random_ids
from bench.server import Server, build, serving
from build_scripts.spec.reading import ENGINES as SPECS
from triton_repo.contract.errors import BenchError, ConchError

FIXED: Final = "flush_interval_ms=100,max_gap_ms=0"
PROMPT_TOKENS: Final = 128
NEW_TOKENS: Final = 64
LONG_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that both servers have: a spec that ends in `[serve]`, and how many ids a prompt may be made of."""

    name: str
    spec: str
    vocab_size: int


def _llama_90m() -> Subject:
    text = (ENGINES / "llama-90m.toml").read_text(encoding="utf-8")
    for old, new in (
        ('"checkpoint-90m"', f'"{llama_checkpoint()}"'),
        ("max_seq_len = 512", "max_seq_len = 2048"),  # for the long prompts
    ):
        text = text.replace(old, new)
    return Subject("llama-90m", text, SHAPE["vocab_size"])


def _smollm2() -> Subject:
    text = (SPECS / "smollm2.toml").read_text(encoding="utf-8")
    return Subject("smollm2", f"{text}\n[serve]\n", 49_152)


_SUBJECTS: Final[Mapping[str, Callable[[], Subject]]] = {"llama-90m": _llama_90m, "smollm2": _smollm2}


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave on one side: tokens a second of all streams, times in ms, CPU of all processes per token in us.

    The time to first token is that of the long prompts, where they arrive.
    """

    tokens_per_s: float
    ttft_ms: float
    gap_p50_ms: float
    gap_p99_ms: float
    cpu_us: float


FIGURES: Final[Mapping[str, Callable[[Wave], float]]] = {
    "tokens/s": lambda wave: wave.tokens_per_s,
    "first token, ms": lambda wave: wave.ttft_ms,
    "p50 gap, ms": lambda wave: wave.gap_p50_ms,
    "p99 gap, ms": lambda wave: wave.gap_p99_ms,
    "CPU/token, us": lambda wave: wave.cpu_us,
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench.choices.gaps", description="How evenly streams arrive.")
    parser.add_argument("--model", choices=_SUBJECTS, default="llama-90m", help="default: llama-90m")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 32], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, help="waves of each side after each start (default: 3)")
    parser.add_argument("--starts", type=int, default=2, help="starts of both servers (default: 2)")
    parser.add_argument("--arrivals", action="store_true", help="long prompts arrive while the streams run")
    settings = "settings of [serve], as KEY=VALUE,… (default: "
    parser.add_argument("--usual", default=FIXED, metavar="SETTINGS", help=f"{settings}{FIXED})")
    parser.add_argument("--other", default="", metavar="SETTINGS", help=f"{settings}those of the runtime)")
    options = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(machine.one_line(report.heading()["machine"]), style="dim", soft_wrap=True, highlight=False)
    pairs: dict[int, list[tuple[Wave, Wave]]] = {streams: [] for streams in options.streams}
    with tempfile.TemporaryDirectory() as directory:
        sides = (options.usual, options.other)
        subject = _SUBJECTS[options.model]()
        specs = [write_spec(Path(directory) / str(number), subject, side) for number, side in enumerate(sides)]
        for start in range(options.starts):
            random = Random(start)  # noqa: S311 - repeatable is what it must be
            with ExitStack() as stack:
                servers = [stack.enter_context(serving(str(spec))) for spec in specs]
                for streams in options.streams:
                    turns = take_turns(subject, servers, streams, options.rounds, random, arrivals=options.arrivals)
                    pairs[streams] += execute(turns)
    console.print(table(pairs))
    return 0


def write_spec(directory: Path, subject: Subject, settings: str) -> Path:
    """The subject's spec with settings of a side; its engine is built."""
    directory.mkdir()
    spec = directory / f"{subject.name}.toml"
    spec.write_text("\n".join([subject.spec, *settings.split(","), ""]), encoding="utf-8")
    build(str(spec))
    return spec


async def take_turns(  # noqa: PLR0913 - what a measurement consists of
    subject: Subject, servers: Sequence[Server], streams: int, rounds: int, random: Random, *, arrivals: bool
) -> list[tuple[Wave, Wave]]:
    """A pair of waves that does not count, then those that do; each pair has the same prompts on both sides."""
    pairs = []
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(server.target, timeout_s=600))) for server in servers]
        for number in range(rounds + 1):
            prompts = [_body(subject, random, PROMPT_TOKENS) for _ in range(streams)]
            late = [_body(subject, random, LONG_TOKENS) for _ in range(64)] if arrivals else []
            order = (0, 1) if number % 2 else (1, 0)
            waves = {side: await run_wave(servers[side], clients[side], prompts, late) for side in order}
            if number:
                pairs.append((waves[0], waves[1]))
    return pairs


async def run_wave(server: Server, client: Client, prompts: Sequence[bytes], late: Sequence[bytes]) -> Wave:
    before_s = server.processes.cpu_s()
    streams = [asyncio.create_task(client.ask("/v1/completions", body)) for body in prompts]
    late_records: list[Record] = []
    arriving = asyncio.create_task(_arrive(client, late, late_records))
    records = await asyncio.gather(*streams)
    arriving.cancel()
    await asyncio.wait({arriving})
    cpu_s = server.processes.cpu_s() - before_s
    if failed := [record.error for record in records if record.error]:
        raise BenchError(f"{len(failed)} of {len(records)} requests failed, the first with: {failed[0]}")
    tokens = sum(record.completion_tokens or 0 for record in records)
    elapsed_s = max(record.end_s for record in records) - min(record.start_s for record in records)
    gaps_ms = sorted(gap_s * 1000 for record in records for gap_s in record.gaps_s)
    firsts_ms = [record.ttft_s * 1000 for record in late_records or records if record.ttft_s is not None]
    p50, p99 = statistics.median(gaps_ms), gaps_ms[int(0.99 * len(gaps_ms))]
    return Wave(tokens / elapsed_s, statistics.median(firsts_ms), p50, p99, cpu_s / tokens * 1e6)


async def _arrive(client: Client, bodies: Sequence[bytes], records: list[Record]) -> None:
    for body in bodies:
        record = await client.ask("/v1/completions", body)
        records.append(record)


def _body(subject: Subject, random: Random, tokens: int) -> bytes:
    return orjson.dumps(
        {
            "model": subject.name,
            "prompt": random_ids(random, tokens, subject.vocab_size),
            "max_tokens": NEW_TOKENS if tokens == PROMPT_TOKENS else 4,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def table(pairs: Mapping[int, Sequence[tuple[Wave, Wave]]]) -> Table:
    """By number of streams: the medians of both sides, and the median, least and greatest ratio of the pairs."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("streams", "", "usual", "other", "other / usual"):
        view.add_column(column, justify="right", no_wrap=True)
    for streams, waves in pairs.items():
        for name, figure in FIGURES.items():
            sides = [[figure(pair[side]) for pair in waves] for side in (0, 1)]
            ratios = [after / before for before, after in zip(*sides, strict=True)]
            spread = f"{statistics.median(ratios):.3f} ({min(ratios):.2f}–{max(ratios):.2f})"
            view.add_row(str(streams), name, *(f"{statistics.median(side):,.1f}" for side in sides), spread)
    return view


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConchError as error:
        sys.exit(f"error: {error}")
