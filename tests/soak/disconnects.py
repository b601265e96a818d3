"""A thousand clients that leave at any point, between others that stay: `python -m tests.soak.disconnects`.

On the real stack with the demo engine. Their engine work must end at once, and neither those that stay nor those that
follow, and share a prefix with them, may get another token than alone.
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
from pathlib import Path
from statistics import quantiles

from tests.conftest import Stack, serving
from tests.soak.client import PREFIXES, QUESTIONS, Canaries, Leaving, ask, chat

AT_ONCE = 24
WAIT_S = 120
_ALONE = 40  # disconnects of one request alone, to measure how soon its work ends


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.disconnects", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000, help="that leave (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory, serving("demo", log=Path(directory) / "serve.log") as stack:
        return asyncio.run(_run(stack, options.clients, random.Random(options.seed)))


async def _run(stack: Stack, num_clients: int, chance: random.Random) -> int:
    canaries = Canaries(stack.gateway)
    await canaries.record()
    before = _ended(stack)
    faults: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    gate = asyncio.Semaphore(AT_ONCE)

    async def visit(number: int) -> None:
        async with gate:
            prefix, question = chance.choice(PREFIXES), chance.choice(QUESTIONS)
            if number % 5 == 0:
                fault = await canaries.differs(prefix, question)
                faults.update([f"survivor: {fault}"] if fault else [])
            body = chat(prefix, question, max_tokens=400, ignore_eos=True)
            endings.update([(await ask(stack.gateway, body, Leaving.at_random(chance))).ending])

    await asyncio.gather(*(visit(number) for number in range(num_clients)))
    left_s = await _until_idle(stack)
    ended = {name: count - before[name] for name, count in _ended(stack).items()}
    for prefix, question in canaries.texts:
        fault = await canaries.differs(prefix, question)
        faults.update([f"successor: {fault}"] if fault else [])
    delays_ms = [1e3 * await _leave_alone(stack, chance) for _ in range(_ALONE)]
    spread = quantiles(delays_ms, n=100)
    print(f"{num_clients} clients: {dict(endings)}; the engine: {ended}; idle {left_s:.2f} s after the last")
    print(
        f"one alone: its work has ended p50 {spread[49]:.0f} ms, p99 {spread[98]:.0f} ms after it left, as counters say"
    )
    others = f"{num_clients // 5} survivors and {len(canaries.texts)} successors"
    print(f"{others}: {dict(faults) or 'the tokens of solo runs'}")
    return 1 if faults or endings.keys() - {"left", "complete"} else 0


def _ended(stack: Stack) -> dict[str, int]:
    name = "conch_engine_requests_ended_total"
    outcomes = ("finished", "cancelled", "failed")
    return {outcome: int(stack.engine_metric(name, model="demo", outcome=outcome)) for outcome in outcomes}


async def _until_idle(stack: Stack) -> float:
    """Seconds until no request is live and no block of the cache is held."""
    began_s = time.monotonic()
    while True:
        live = await asyncio.to_thread(stack.engine_metric, "conch_engine_requests", model="demo", state="live")
        held = await asyncio.to_thread(stack.engine_metric, "conch_engine_kv_cache_utilization", model="demo")
        if live == held == 0:
            return time.monotonic() - began_s
        assert time.monotonic() < began_s + WAIT_S, f"{live} requests are live, {held:.1%} of the KV cache is held"
        await asyncio.sleep(0.005)


async def _leave_alone(stack: Stack, chance: random.Random) -> float:
    leaving = Leaving(events=chance.randrange(2, 20), reset=chance.random() < 0.5)
    await ask(stack.gateway, chat(PREFIXES[0], QUESTIONS[0], max_tokens=400, ignore_eos=True), leaving)
    return await _until_idle(stack)


if __name__ == "__main__":
    sys.exit(main())
