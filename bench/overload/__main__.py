"""`python -m bench.overload`: what a server does with more requests than it can answer.

Its capacity is measured first, by so many clients at a time that its engine is always full, after a run to warm up.
Then requests come at 1, 2, 5 and 10 times that rate, however slow the server is, and say how long they wait
(`x-request-timeout`). Goodput is what was answered whole in that time, beside the most that any rate reached. A machine
that is now faster and now slower makes the most of several runs more than any rate's mean: `--rounds` takes means.

At last one key asks 50 times as much as another. What the other's answers lose is told beside what they lose in a batch
that is full of its own: an engine that computes on a CPU takes longer for each step of a full batch, whoever fills it.

Times are the client's, from when a request was due. Beside them: how late the client was with sending, and what the
server's log says of the rejections that have a line there.

`--conch` names the command of another checkout, to be measured in the same session. The load is made on the same
machine: what it takes is told, and is missing to the server. Where it may, as root, it runs before the server: what a
client waits for a processor is no doing of the server that it asks.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import machine, report
from bench.bars.engines import ENGINES
from bench.bars.finding import table
from bench.child_server import ROOT
from bench.overload.runs import Measurement
from bench.overload.serve import serving
from triton_repo.contract.errors import ConchError

MULTIPLES: Final = (1, 2, 5, 10)

_RESULTS: Final = ROOT / "bench" / "results"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.overload", description="Measure what overload does to a server.")
    parser.add_argument("engine", nargs="?", default="demo", help="name or spec; `paced` is one that no load slows")
    parser.add_argument("--conch", type=Path, default=Path(sys.executable).parent / "conch", help="command that serves")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds that a client waits")
    parser.add_argument("--concurrency", type=int, default=24, help="clients that fill the engine")
    parser.add_argument("--batch", type=int, default=16, help="sequences in the engine's batch")
    parser.add_argument("--max-key-share", type=float, help="of the server: what one key may fill beside others")
    parser.add_argument("--rounds", type=int, default=1, help="of the runs at all multiples, whose means count")
    parser.add_argument("--multiples", type=int, nargs="+", default=MULTIPLES, help="of the capacity")
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between two runs")
    parser.add_argument("--silent", dest="tell", action="store_false", help="do not tell the server how long one waits")
    parser.add_argument("--no-neighbours", dest="neighbours", action="store_false", help="leave out the two keys")
    parser.add_argument("--json", type=Path, help="where the figures go (default: bench/results/)")
    return parser


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    console = Console()
    heading = report.heading()
    console.print(machine.one_line(heading["machine"]), style="dim", soft_wrap=True, highlight=False)
    engine = str(ENGINES / "small-batch.toml") if options.engine == "paced" else options.engine
    flags = () if options.max_key_share is None else ("--max-key-share", str(options.max_key_share))
    neighbours = machine.Neighbours()
    try:
        with serving(options.conch, engine, *flags) as server:
            measurement = Measurement(server, options, console)
            measurement.run()
    except ConchError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    console.print(table(measurement.findings))
    if disturbance := machine.disturbance(neighbours.cores()):
        console.print(disturbance, style="yellow")
    file = options.json or _RESULTS / f"overload-{time.strftime('%Y%m%d-%H%M%S')}.json"
    report.write_json(file, {**heading, "findings": [finding.to_json() for finding in measurement.findings]})
    console.print(f"written to {file}", style="dim", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers under test are stopped
    sys.exit(main(sys.argv[1:]))
