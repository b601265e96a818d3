"""A million steps of the engine's loop, with everything that may happen to it: `python -m tests.soak.engine`."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.triton_repo.engine.loop.ledger import Ledger, clock, happen

LIFE: Final = 5000  # steps of one engine
PAUSE: Final = 500  # steps, after which every request is left to end by itself


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.engine", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    logging.disable()
    began_s = time.monotonic()
    outcomes: Counter[str] = Counter()
    for life, start in enumerate(range(0, options.steps, LIFE)):
        seed = f"{options.seed} {life}"
        try:
            outcomes += _live(random.Random(seed), min(LIFE, options.steps - start))
        except AssertionError as error:
            print(f"seed {seed!r}: {error}")
            return 1
    ended = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    print(
        f"{options.steps} steps in {time.monotonic() - began_s:.0f} s, seed {options.seed}: {ended}; each request once"
    )
    return 0


def _live(chance: random.Random, num_steps: int) -> Counter[str]:
    with clock() as now:
        ledger = Ledger(now, chance)
        for step in range(1, num_steps + 1):
            happen(ledger, chance)
            if step % PAUSE == 0:
                ledger.quiet()
        ledger.close()
    return Counter(ledger.outcomes)


if __name__ == "__main__":
    sys.exit(main())
