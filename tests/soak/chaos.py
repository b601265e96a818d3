"""A server under load to which everything happens: `python -m tests.soak.chaos --minutes 30 --seed 1`.

On the real stack with the demo engine: requests at a steady rate with bursts, of which some leave, some read slowly and
some are hostile; and every minute or so a process is killed, or stopped for a while. Each request must end in exactly
one way that a client understands, the gateway must tell the same of each, and greedy answers must be those from before.
At the end client, gateway and engine must count the same of some last requests; and processes, threads, files,
shared memory and load must be what they were.
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

from tests.conftest import ROOT, free_port
from tests.faults.ledger import settled
from tests.fuzz.inputs import generated
from tests.fuzz.targets.requests import targets
from tests.launch.server import KEY, Server, serving
from tests.soak.client import PREFIXES, QUESTIONS, Answer, Canaries, Leaving, ask, chat
from tests.soak.ledger import Sent, closing, disagreements, lines_of, num_left_out
from tests.soak.processes import PARTS, processes, resident_mib

RATE: Final = 3.0  # requests a second
BURST: Final = 4.0  # times as many, for BURST_S in every BURSTS_S
BURST_S, BURSTS_S = 20.0, 120.0
QUIET_S: Final = 60.0  # after a recovery; five failures in a row within a minute each end the server
RECOVERY_S: Final = 120.0
STOPPED_S: Final = 20.0
HEADERS: Final = f"authorization: Bearer {KEY}\r\n".encode()


@dataclass
class Event:
    """One fault: what, of which part, when, and after how long an answer came again."""

    what: str
    part: str
    began_s: float
    recovered_s: float | None = None

    @property
    def is_of_gateway(self) -> bool:
        return self.part.startswith("gateway")


@dataclass
class Report:
    parts: Sequence[str]  # that are broken
    engines: Sequence[str]  # that are asked
    endings: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    canaries: Counter[str] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)
    memory_mib: dict[str, list[float]] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)
    closing: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def note(self, id: str, answer: Answer, ending: str, asked_s: float) -> None:
        self.sent[id] = Sent(answer.status, ending, time.monotonic())
        self.endings[ending] += 1
        if ending == "rejected":
            self.statuses[answer.status] += 1
        gateway_died = any(event.is_of_gateway and asked_s - 1 < _end(event) for event in self.events)
        if ending == "broken" or (ending == "cut" and not gateway_died):
            self.faults.append(f"{ending}: status {answer.status}, last {answer.events[-1:]}")
        if ending == "rejected" and answer.status >= 500 and answer.status not in {503, 504}:
            self.faults.append(f"status {answer.status}")


def _end(event: Event) -> float:
    return event.began_s + (event.recovered_s if event.recovered_s is not None else RECOVERY_S) + 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--part", nargs="+", choices=[*PARTS], default=[*PARTS], help="to break (default: any)")
    parser.add_argument("--beside", nargs="+", default=[], metavar="SPEC", help="other engines, asked as often")
    parser.add_argument("--workers", type=int, default=1, help="of the gateway (default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write there what the server printed")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        spec, ports = ROOT / "engines" / "demo.toml", [free_port() for _ in range(4)]
        arguments = (*options.beside, "--workers", str(options.workers))
        with serving(spec, ports, *arguments, runtime_directory=Path(directory)) as server:
            report = asyncio.run(_run(server, options))
            server.stop()
    report.faults += [f"in the log: {line.strip()}" for line in server.lines if "Traceback" in line]
    outages = [(event.began_s, _end(event)) for event in report.events if event.is_of_gateway]
    report.faults += disagreements(report.sent, lines_of(server.lines), outages, num_left_out(server.lines))
    if options.log:
        options.log.write_text(server.output, encoding="utf-8")
    print(_text(report, options.minutes, options.seed))
    return 1 if report.faults else 0


async def _run(server: Server, options: argparse.Namespace) -> Report:
    engines = ("demo", *(Path(spec).stem for spec in options.beside))
    report, chance = Report(options.part, engines), random.Random(options.seed)
    canaries = Canaries(server.url, HEADERS)
    await canaries.record()
    before = await asyncio.to_thread(settled, server)
    until_s = time.monotonic() + 60 * options.minutes
    tasks = (_load, _ask_canaries, _break, _measure)
    await asyncio.gather(*(task(server, report, until_s, random.Random(chance.random()), canaries) for task in tasks))
    report.closing, faults = await closing(server, HEADERS)
    report.faults += faults
    after = await asyncio.to_thread(settled, server)
    report.faults += [f"not what it was: {name} {values}" for name, values in after.differences(before).items()]
    for prefix, question in canaries.texts:
        if (fault := await canaries.differs(prefix, question)) is not None:
            report.faults.append(f"at the end: {fault}")
    return report


async def _load(server: Server, report: Report, until_s: float, chance: random.Random, _: Canaries) -> None:
    began_s, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as requests:
        while (now_s := time.monotonic()) < until_s:
            bursts = (now_s - began_s) % BURSTS_S > BURSTS_S - BURST_S
            number += 1
            requests.create_task(_one(server, report, f"chaos-{number}", random.Random(chance.random())))
            await asyncio.sleep(chance.expovariate(RATE * (BURST if bursts else 1)))


async def _one(server: Server, report: Report, id: str, chance: random.Random) -> None:
    asked_s = time.monotonic()
    kind = chance.random()
    more = {"model": chance.choice(report.engines), "max_tokens": chance.randrange(8, 200), "ignore_eos": True}
    body = chat(chance.choice(PREFIXES), chance.choice(QUESTIONS), **more)
    leaving = Leaving.at_random(chance) if kind < 0.10 else None
    if kind > 0.95:
        body = generated(next(target for target in targets() if target.name == "chat_body"), chance)
    headers = HEADERS + f"x-request-id: {id}\r\n".encode()
    answer = await ask(server.url, body, leaving, pause_s=0.2 if 0.90 < kind < 0.95 else 0, headers=headers)
    plain = kind > 0.95 and answer.status == 200 and not answer.events  # a sound one, not streamed
    report.note(id, answer, "complete" if plain else answer.ending, asked_s)


async def _ask_canaries(
    server: Server, report: Report, until_s: float, chance: random.Random, canaries: Canaries
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


async def _break(server: Server, report: Report, until_s: float, chance: random.Random, _: Canaries) -> None:
    await asyncio.sleep(10)
    while time.monotonic() < until_s - QUIET_S:
        part, what = chance.choice(report.parts), chance.choice(("kill -9", "kill -9", "SIGSTOP"))
        victim = _process(server, part, chance)
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


def _process(server: Server, part: str, chance: random.Random) -> psutil.Process | None:
    found = [process for kind, process in processes(server.process.pid) if kind == part]
    return chance.choice(found) if found else None


async def _measure(server: Server, report: Report, until_s: float, *_: object) -> None:
    while time.monotonic() < until_s:
        for name, mib in resident_mib(server.process.pid).items():
            report.memory_mib.setdefault(name, []).append(mib)
        await asyncio.sleep(5)


def _text(report: Report, minutes: float, seed: int) -> str:
    lines = [f"{minutes:g} minutes, seed {seed}: {len(report.sent)} requests, {dict(report.endings)}"]
    lines += [f"rejected with {dict(sorted(report.statuses.items()))}; canaries {dict(report.canaries)}"]
    lines += [f"{name} counts of the last requests {dict(counts)}" for name, counts in report.closing.items()]
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
