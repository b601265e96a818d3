"""A server under load to which everything happens: `python -m tests.soak.chaos --minutes 30 --seed 1`.

On the real stack with the demo engine: requests at a steady rate with bursts, of which some leave, some read slowly and
some are hostile; and every minute or so a process is killed, or stopped for a while. Each request must end in exactly
one way that a client understands, and greedy answers must be those from before.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.conftest import Stack, serving
from tests.fuzz.inputs import generated
from tests.fuzz.targets.requests import targets
from tests.soak.client import PREFIXES, QUESTIONS, Answer, Canaries, Leaving, ask, chat

RATE: Final = 3.0  # requests a second
BURST: Final = 4.0  # times as many, for BURST_S in every BURSTS_S
BURST_S, BURSTS_S = 20.0, 120.0
QUIET_S: Final = 60.0  # after a recovery; five failures in a row within a minute each end the server
RECOVERY_S: Final = 120.0
STOPPED_S: Final = 20.0
DRAIN_S: Final = 240.0
PARTS: Final = {
    "engine stub": "demo_engine/1/",
    "preprocess stub": "demo_preprocess/1/",
    "detokenize stub": "demo_detokenize/1/",
    "tritonserver": "bin/tritonserver",
    "gateway": "-m gateway",
}


@dataclass
class Event:
    """One fault: what, of which part, when, and after how long an answer came again."""

    what: str
    part: str
    began_s: float
    recovered_s: float | None = None


@dataclass
class Report:
    endings: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    canaries: Counter[str] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)
    memory_mib: dict[str, list[float]] = field(default_factory=dict)
    sent: int = 0
    faults: list[str] = field(default_factory=list)

    def note(self, answer: Answer, asked_s: float) -> None:
        self.endings[answer.ending] += 1
        if answer.ending == "rejected":
            self.statuses[answer.status] += 1
        gateway_died = any(event.part == "gateway" and asked_s - 1 < _end(event) for event in self.events)
        if answer.ending == "broken" or (answer.ending == "cut" and not gateway_died):
            self.faults.append(f"{answer.ending}: status {answer.status}, last {answer.events[-1:]}")
        if answer.ending == "rejected" and answer.status >= 500 and answer.status not in {503, 504}:
            self.faults.append(f"status {answer.status}")


def _end(event: Event) -> float:
    return event.began_s + (event.recovered_s if event.recovered_s is not None else RECOVERY_S) + 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "serve.log"
        with serving("demo", log=log) as stack:
            report = asyncio.run(_run(stack, 60 * options.minutes, random.Random(options.seed)))
        shown = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "Traceback" in line]
    report.faults += [f"in the log: {line}" for line in shown]
    print(_text(report, options.minutes, options.seed))
    return 1 if report.faults else 0


async def _run(stack: Stack, seconds: float, chance: random.Random) -> Report:
    report = Report()
    canaries = Canaries(stack.gateway)
    await canaries.record()
    until_s = time.monotonic() + seconds
    tasks = (_load, _ask_canaries, _break, _measure)
    await asyncio.gather(*(task(stack, report, until_s, random.Random(chance.random()), canaries) for task in tasks))
    await _drained(stack, report)
    for prefix, question in canaries.texts:
        if (fault := await canaries.differs(prefix, question)) is not None:
            report.faults.append(f"at the end: {fault}")
    return report


async def _load(stack: Stack, report: Report, until_s: float, chance: random.Random, _: Canaries) -> None:
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as requests:
        while (now_s := time.monotonic()) < until_s:
            bursts = (now_s - began_s) % BURSTS_S > BURSTS_S - BURST_S
            report.sent += 1
            requests.create_task(_one(stack, report, random.Random(chance.random())))
            await asyncio.sleep(chance.expovariate(RATE * (BURST if bursts else 1)))


async def _one(stack: Stack, report: Report, chance: random.Random) -> None:
    asked_s = time.monotonic()
    kind = chance.random()
    body = chat(chance.choice(PREFIXES), chance.choice(QUESTIONS), max_tokens=chance.randrange(8, 200), ignore_eos=True)
    leaving = Leaving.at_random(chance) if kind < 0.10 else None
    if kind > 0.95:
        body = generated(next(target for target in targets() if target.name == "chat_body"), chance)
    answer = await ask(stack.gateway, body, leaving, pause_s=0.2 if 0.90 < kind < 0.95 else 0)
    if kind > 0.95 and answer.status == 200 and not answer.events:
        return report.endings.update(["complete"])  # a sound one, not streamed
    return report.note(answer, asked_s)


async def _ask_canaries(
    stack: Stack, report: Report, until_s: float, chance: random.Random, canaries: Canaries
) -> None:
    """One after the other; the first that is whole after a fault ends it."""
    while (asked_s := time.monotonic()) < until_s:
        fault = await canaries.differs(*chance.choice([*canaries.texts]))
        report.canaries[fault or "same"] += 1
        if fault in {"other text", "broken"}:
            report.faults.append(f"canary: {fault}")
        last = report.events[-1] if report.events else None
        if fault is None and last is not None and last.recovered_s is None and asked_s > last.began_s:
            last.recovered_s = time.monotonic() - last.began_s
        await asyncio.sleep(0.5)


async def _break(stack: Stack, report: Report, until_s: float, chance: random.Random, _: Canaries) -> None:
    await asyncio.sleep(10)
    while time.monotonic() < until_s - QUIET_S:
        part, what = chance.choice([*PARTS]), chance.choice(("kill -9", "kill -9", "SIGSTOP"))
        victim = _process(stack, part)
        if victim is None:
            await asyncio.sleep(1)
            continue
        event = Event(what, part, time.monotonic())
        report.events.append(event)
        victim.send_signal(signal.SIGKILL if what == "kill -9" else signal.SIGSTOP)
        if what == "SIGSTOP":
            await asyncio.sleep(STOPPED_S)
            if victim.is_running():  # not killed for its silence
                victim.send_signal(signal.SIGCONT)
        while event.recovered_s is None and time.monotonic() < event.began_s + RECOVERY_S:
            await asyncio.sleep(0.2)
        if event.recovered_s is None:
            report.faults.append(f"{what} {part}: no answer after {RECOVERY_S:.0f} s")
        await asyncio.sleep(QUIET_S)


def _process(stack: Stack, part: str) -> psutil.Process | None:
    return next((process for kind, process in _processes(stack) if kind == part), None)


def _processes(stack: Stack) -> list[tuple[str, psutil.Process]]:
    found = []
    for process in psutil.Process(stack.pid).children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        found += [(kind, process) for kind, mark in PARTS.items() if mark in command][:1]
    return found


async def _measure(stack: Stack, report: Report, until_s: float, *_: object) -> None:
    while time.monotonic() < until_s:
        for kind, process in _processes(stack):
            try:
                name = f"{kind} {process.pid}"
                report.memory_mib.setdefault(name, []).append(process.memory_info().rss / 2**20)
            except psutil.Error:
                continue
        await asyncio.sleep(5)


async def _drained(stack: Stack, report: Report) -> None:
    """Every request that was sent has ended, and the engine has none left."""
    if sum(report.endings.values()) != report.sent:
        report.faults.append(f"{report.sent} requests, {sum(report.endings.values())} endings")
    deadline = time.monotonic() + DRAIN_S
    while (live := stack.engine_metric("conch_engine_requests", model="demo", state="live")) != 0:
        if time.monotonic() > deadline:
            report.faults.append(f"{live:.0f} requests are live in an idle engine")
            return
        await asyncio.sleep(0.1)


def _text(report: Report, minutes: float, seed: int) -> str:
    lines = [f"{minutes:g} minutes, seed {seed}: {report.sent} requests, {dict(report.endings)}"]
    lines += [f"rejected with {dict(sorted(report.statuses.items()))}; canaries {dict(report.canaries)}"]
    for event in report.events:
        recovered = "never" if event.recovered_s is None else f"{event.recovered_s:.1f} s"
        lines.append(f"  {event.what:8} {event.part:16} an answer again after {recovered}")
    for name, values in report.memory_mib.items():
        if len(values) > 24:  # two minutes
            half = values[len(values) // 2 :]
            hourly = (half[-1] - half[0]) / (5 * len(half)) * 3600
            lines.append(
                f"  {name}: {values[0]:.0f} → {values[-1]:.0f} MiB in {5 * len(values)} s; {hourly:+.0f} MiB/h"
            )
    counted = Counter(report.faults)
    lines += [f"FAULT {count} × {fault}" for fault, count in counted.most_common(20)] or ["no fault"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
