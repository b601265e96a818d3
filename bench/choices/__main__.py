"""`python -m bench.choices [--only NAME …]`: what each setting of the embedded CPU engine does here, in ratios.

The engine's runtime runs in this process with nothing around it, on a generated Llama of 90 million parameters. Both
sides of a choice take turns wave by wave; a ratio is other / usual of one round, and what is told is the median.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import machine, report
from bench.bars.engines import ENGINES, llama_checkpoint, make
from bench.child_server import ROOT
from bench.choices.choice import DRAFTED, Choice, choices
from bench.choices.pair import Result, compare
from bench.choices.view import table
from bench.server import build
from triton_repo.contract.errors import ConchError

RESULTS: Final = ROOT / "bench" / "results"
_PAIR: Final = (ENGINES / "checkpoint-90m-calm", ENGINES / "checkpoint-90m-draft")


def main(argv: Sequence[str]) -> int:
    known = choices()
    names = list(dict.fromkeys(choice.name for choice in known))
    parser = argparse.ArgumentParser("python -m bench.choices", description="What the engine's settings do here.")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=3, help="counted waves of each side (default: 3)")
    parser.add_argument("--json", type=Path, help="where the figures go (default: bench/results/)")
    options = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    heading = report.heading()
    console.print(machine.one_line(heading["machine"]), style="dim", soft_wrap=True, highlight=False)
    wanted = [choice for choice in known if choice.name in options.only]
    with console.status("building engines …") as status:
        prepare(wanted)
        neighbours = machine.Neighbours()
        results: list[Result] = []
        for choice in wanted:
            status.update(f"{choice.setting} = {choice.usual.label} or {choice.other.label} …")
            results += compare(choice, ENGINES / "built", options.rounds)
    console.print(table(results))
    cores = neighbours.cores()
    if disturbance := machine.disturbance(cores):
        console.print(f"disturbed: {disturbance}", style="yellow")
    file = options.json or RESULTS / f"choices-{time.strftime('%Y%m%d-%H%M%S')}.json"
    content = {"rounds": options.rounds, "foreign_cores": cores, "results": [result.to_json() for result in results]}
    report.write_json(file, heading | content)
    console.print(f"written to {file}", style="dim", soft_wrap=True, highlight=False)
    return 0


def prepare(wanted: Sequence[Choice]) -> None:
    """Make the checkpoints and bring the engines up to date."""
    engines = dict.fromkeys(side.engine for choice in wanted for side in (choice.usual, choice.other))
    checkpoint = llama_checkpoint()
    if DRAFTED in engines and not all(path.exists() for path in _PAIR):
        make("bench.choices.checkpoints", checkpoint, *_PAIR)
    for engine in engines:
        build(str(ENGINES / f"{engine}.toml"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConchError as error:
        sys.exit(f"error: {error}")
