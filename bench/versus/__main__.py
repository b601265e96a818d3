"""`python -m bench.versus [--model MODEL] [--url NAME=URL …]`: Conch beside other servers, the same load in one run.

fields.py says who competes on which model; a server elsewhere is named by its URL and serves what it serves.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.child_server import ROOT
from bench.load.connection import Target
from bench.load.run import first_model
from bench.versus.contestant import Contestant, Score, compete
from bench.versus.fields import FIELDS
from triton_repo.contract.errors import BenchError

STREAMS: Final = (1, 8, 32)
RESULTS: Final = ROOT / "bench" / "results"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench.versus", description="Conch beside other servers.")
    parser.add_argument("--model", choices=FIELDS, default="llama-90m", help="default: llama-90m")
    parser.add_argument("--url", action="append", default=[], metavar="NAME=URL", help="another OpenAI server")
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS), help="default: 1 8 32")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each server (default: 3)")
    parser.add_argument("--json", type=Path, help="where the figures go (default: bench/results/)")
    options = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    heading = report.heading()
    console.print(machine.one_line(heading["machine"]), style="dim", soft_wrap=True, highlight=False)
    scores: list[Score] = []
    remarks: list[str] = []
    neighbours = machine.Neighbours()
    with ExitStack() as stack, console.status("starting …") as status:
        contestants = [*FIELDS[options.model](stack, remarks), *map(elsewhere, options.url)]
        for streams in options.streams:
            status.update(f"{streams} streams …")
            scores += compete(contestants, streams, options.rounds)
    console.print(table(scores))
    if disturbance := machine.disturbance(neighbours.cores()):
        remarks.append(f"disturbed: {disturbance}")
    for remark in remarks:
        console.print(remark, style="yellow", markup=False, soft_wrap=True, highlight=False)
    file = options.json or RESULTS / f"versus-{time.strftime('%Y%m%d-%H%M%S')}.json"
    report.write_json(
        file, {**heading, "model": options.model, "scores": [score.to_json() for score in scores], "remarks": remarks}
    )
    console.print(f"written to {file}", style="dim", soft_wrap=True, highlight=False)
    return 0


def elsewhere(option: str) -> Contestant:
    """The server that `--url` names."""
    name, found, url = option.partition("=")
    if not found or not name or not url:
        raise BenchError(f"--url = {option!r}; must be like NAME=http://HOST:PORT")
    target = Target.parse(url)
    return Contestant(name, target, first_model(target))


def table(scores: Sequence[Score]) -> Table:
    """One row per server and number of streams."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    for heading in (
        "streams",
        "server",
        "tokens/s",
        "ratio",
        "first token ms",
        "gap p50",
        "gap p99 ms",
        "CPU ms/token",
    ):
        view.add_column(heading, justify="left" if heading == "server" else "right")
    for score in scores:
        gaps = (score.gap_p50_ms, score.gap_p99_ms)
        figures = (score.tokens_per_s, score.ratio, score.ttft_ms, *gaps, score.cpu_ms_per_token)
        view.add_row(str(score.streams), score.server, *("-" if f is None else f"{f:.3g}" for f in figures))
    return view


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"error: {error}")
