"""Whether the processes of a server grow under a steady load: `python -m tests.soak.memory demo --minutes 15`.

So many clients at a time, each with prompts and answers of its own lengths, some with a schema, some that leave. After
a while, in which caches fill, the resident memory of each process must be flat: what it has in the last third of the
rest, at the median, may exceed that of the first third by some MiB only.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.conftest import Stack, serving
from tests.soak.client import PREFIXES, QUESTIONS, Leaving, ask, chat
from tests.soak.processes import resident_mib

EVERY_S: Final = 5.0
_SCHEMA: Final = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"maxLength": 12, "type": "string"}}}


@dataclass
class Growth:
    """What one process had, in MiB, every EVERY_S."""

    mib: list[float] = field(default_factory=list)

    def beyond(self, num_warm_up: int) -> float | None:
        """By how much it grew after so many samples; None where it was not there for long enough."""
        rest = self.mib[num_warm_up:]
        third = len(rest) // 3
        return median(rest[-third:]) - median(rest[:third]) if third else None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.memory", description=__doc__)
    parser.add_argument("engine", nargs="?", default="demo", help="name or spec (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=15, help="(default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=5, help="minutes of them (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="at a time (default: %(default)s)")
    parser.add_argument("--schemas", type=float, default=0.05, help="share with a schema (default: %(default)s)")
    parser.add_argument("--leave", type=float, default=0.05, help="share that leaves (default: %(default)s)")
    parser.add_argument("--bound", type=float, default=16, help="MiB that a process may grow by (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(options.engine, log=Path(directory) / "serve.log") as stack,
    ):
        endings, processes = asyncio.run(_run(stack, options))
    print(f"{options.minutes:g} minutes, {options.clients} clients: {sum(endings.values())} requests, {dict(endings)}")
    num_warm_up = int(60 * options.warm_up / EVERY_S)
    grew = [_grew(name, growth, num_warm_up, options.bound) for name, growth in processes.items()]
    return 1 if any(grew) or endings.keys() - {"complete", "left"} else 0


def _grew(name: str, growth: Growth, num_warm_up: int, bound: float) -> bool:
    """Print what became of a process; whether it grew too much."""
    beyond, mib = growth.beyond(num_warm_up), growth.mib
    shown = ", ".join(f"{each:.0f}" for each in mib[:: max(1, len(mib) // 10)])
    grew = beyond is not None and beyond > bound
    print(
        f"{name}: {'not there for long' if beyond is None else f'{beyond:+.1f} MiB'}{', TOO MUCH' if grew else ''}; "
        f"at most {max(mib):.0f} MiB; {shown}"
    )
    return grew


async def _run(stack: Stack, options: argparse.Namespace) -> tuple[Counter[str], dict[str, Growth]]:
    endings: Counter[str] = Counter()
    processes: dict[str, Growth] = {}
    until_s = time.monotonic() + 60 * options.minutes
    clients = (_ask(stack, options, until_s, number, endings) for number in range(options.clients))
    await asyncio.gather(_watch(stack, until_s, processes), *clients)
    return endings, processes


async def _watch(stack: Stack, until_s: float, processes: dict[str, Growth]) -> None:
    while time.monotonic() < until_s:
        for name, mib in resident_mib(stack.pid).items():
            processes.setdefault(name, Growth()).mib.append(mib)
        await asyncio.sleep(EVERY_S)


async def _ask(stack: Stack, options: argparse.Namespace, until_s: float, number: int, endings: Counter[str]) -> None:
    chance = random.Random(f"{options.seed} {number}")
    model = Path(options.engine).stem
    while time.monotonic() < until_s:
        prompt = chance.choice(PREFIXES)[: chance.randrange(10, 1200)]
        question = f"{chance.choice(QUESTIONS)} {chance.random()}"
        more: dict[str, Any] = {"ignore_eos": True, "max_tokens": chance.randrange(8, 200)}
        if chance.random() < options.schemas:
            schema = {**_SCHEMA, "title": str(chance.randrange(40))}
            more = {
                "max_tokens": 60,
                "response_format": {"type": "json_schema", "json_schema": {"schema": schema, "name": "n"}},
            }
        leaving = Leaving(events=chance.randrange(1, 40)) if chance.random() < options.leave else None
        answer = await ask(stack.gateway, chat(prompt, question, model=model, **more), leaving)
        endings[answer.ending] += 1
        if answer.ending == "rejected":
            await asyncio.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
