"""Streams of `replay` that arrive over a ramp and are then all open, and the CPU that they take meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bench.bars.replay import workload
from bench.load.answer import Record
from bench.load.generator import Bounds, OpenLoop
from bench.load.run import Plan, execute, measure
from bench.load.summary import Summary, summarize
from bench.processes import ProcessTrees
from bench.server import Server

_INTERVAL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds that had been used at a time of `time.perf_counter`."""

    at_s: float
    server_s: float
    client_s: float


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores that were busy, mean."""

    server: float
    client: float


@dataclass(frozen=True, slots=True)
class Steady:
    """One run; `cores` while all streams were open, None if they never were for long enough to tell."""

    summary: Summary
    cores: Cores | None


def steady(server: Server, streams: int, tokens: int, ramp_s: float) -> Steady:
    """`streams` answers of so many tokens, all of which have been asked for after `ramp_s`."""
    return execute(_steady(server, streams, tokens, ramp_s))


async def _steady(server: Server, streams: int, tokens: int, ramp_s: float) -> Steady:
    loop = OpenLoop(streams / ramp_s)
    plan = Plan(server.target, workload("replay", tokens), Bounds(streams), warmup=8)
    readings: list[Reading] = []
    reading = asyncio.create_task(_read(server.processes, readings))
    result = await measure(plan, loop)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    summary = summarize(loop.name, result.records, client_cpu_s=result.client_cpu_s)
    return Steady(summary, cores_while_all_open(readings, result.records))


def cores_while_all_open(readings: Sequence[Reading], records: Sequence[Record]) -> Cores | None:
    """Between the last arrival and the first end: the ramps, in which fewer streams are open, do not count."""
    opened_s, ended_s = max(record.start_s for record in records), min(record.end_s for record in records)
    within = [reading for reading in readings if opened_s <= reading.at_s <= ended_s]
    if len(within) < 2:
        return None
    first, last = within[0], within[-1]
    elapsed_s = last.at_s - first.at_s
    return Cores((last.server_s - first.server_s) / elapsed_s, (last.client_s - first.client_s) / elapsed_s)


async def _read(processes: ProcessTrees, readings: list[Reading]) -> None:
    while True:
        readings.append(await asyncio.to_thread(_reading, processes))
        await asyncio.sleep(_INTERVAL_S)


def _reading(processes: ProcessTrees) -> Reading:
    return Reading(time.perf_counter(), processes.cpu_s(), time.process_time())
