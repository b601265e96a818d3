"""`python -m bench.bars [--only BAR …]`: what serving costs on this machine, beside what it should cost.

1. delivered.py  tokens through HTTP over tokens of the bare pipeline
2. cpu.py        CPU per token, and how many streams it carries
3. overhead.py   time that one request takes beside its engine
4. streams.py    a thousand streams at once
5. startup.py    until it is ready
6. disconnect.py until the engine lets go of a client that has gone

A benchmark and not a test: it asserts nothing. The figures are of one run on one machine; compare their ratios.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import machine, report
from bench.bars import cpu, delivered, disconnect, overhead, startup, streams
from bench.bars.finding import Finding, table
from triton_repo.contract.errors import ConchError

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
BARS: Final[Mapping[int, Callable[[], Iterator[Finding]]]] = {
    1: delivered.measure,
    2: cpu.measure,
    3: overhead.measure,
    4: streams.measure,
    5: startup.measure,
    6: disconnect.measure,
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench.bars", description="Measure what serving costs here.")
    parser.add_argument("--only", type=int, nargs="+", choices=sorted(BARS), default=sorted(BARS), metavar="BAR")
    parser.add_argument("--json", type=Path, help="where the figures go (default: bench/results/)")
    options = parser.parse_args(argv)
    console = Console()
    heading = report.heading()
    console.print(machine.one_line(heading["machine"]), style="dim", soft_wrap=True, highlight=False)
    findings: list[Finding] = []
    remarks: list[str] = []
    for bar in options.only:
        neighbours = machine.Neighbours()
        with console.status(f"bar {bar} …"):
            try:
                findings += BARS[bar]()
            except ConchError as error:  # the other bars can still be measured
                remarks.append(f"bar {bar} was not measured: {error}")
        if disturbance := machine.disturbance(neighbours.cores()):
            remarks.append(f"bar {bar} was disturbed: {disturbance}")
    console.print(table(findings))
    for remark in remarks:
        console.print(remark, style="yellow", markup=False, soft_wrap=True, highlight=False)
    file = options.json or RESULTS / f"bars-{time.strftime('%Y%m%d-%H%M%S')}.json"
    report.write_json(file, {**heading, "findings": [finding.to_json() for finding in findings], "remarks": remarks})
    console.print(f"written to {file}", style="dim", soft_wrap=True, highlight=False)
    return 0 if findings else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers under test are stopped
    sys.exit(main(sys.argv[1:]))
