"""`python -m bench.embeddings`: what an encoder delivers over HTTP, beside a plain loop over the same texts.

Served and loop alternate, round by round, and each ratio is of one round: the median of several is shown, with the
least and the most. Then how long one short text takes, alone and while another client sends batches of the longest.
A benchmark and not a test: it asserts nothing.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.embeddings import texts
from bench.embeddings.client import short_latencies_s, tokens_per_s
from bench.embeddings.loops import BATCH, Loop, onnx_loop, openvino_loop
from bench.load.connection import Target
from bench.server import build, serving
from build_scripts.source.checkpoint import resolve
from build_scripts.spec.reading import read_spec, require_spec_file

_CLIENTS = 4


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench.embeddings", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="minilm", help="name or spec file of an encoder (default: minilm)")
    parser.add_argument("--texts", type=int, default=512, help="in a round (default: 512)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--short", type=int, default=200, help="short texts whose latency is measured (default: 200)")
    options = parser.parse_args(argv)
    file = require_spec_file(options.model)
    spec, console = read_spec(file), Console()
    build(options.model)
    neighbours = machine.Neighbours()
    with serving(options.model) as server, ExitStack() as stack:
        directory = file.parent / "built" / spec.name
        checkpoint = stack.enter_context(resolve(spec.model, file.parent)).directory
        loops = dict(_loops(directory, checkpoint))
        console.print(_throughput(server.target, spec.name, loops, texts.mixed(options.texts), options.rounds))
        console.print(_latency(server.target, spec.name, options.short))
    if disturbance := machine.disturbance(neighbours.cores()):
        console.print(f"disturbed: {disturbance}", style="yellow", markup=False, soft_wrap=True, highlight=False)
    return 0


def _loops(directory: Path, checkpoint: Path) -> Iterator[tuple[str, Loop]]:
    yield "OpenVINO", openvino_loop(directory)
    onnx = onnx_loop(directory, checkpoint)
    if onnx is not None:
        yield "ONNX Runtime", onnx


def _throughput(target: Target, model: str, loops: dict[str, Loop], sample: Sequence[str], rounds: int) -> Table:
    batches = [sample[start : start + 2 * BATCH] for start in range(0, len(sample), 2 * BATCH)]
    served: list[float] = []
    measured: dict[tuple[str, bool], list[float]] = {(name, order): [] for name in loops for order in (False, True)}
    for _ in range(rounds + 1):  # the first one warms up
        served.append(tokens_per_s(target, model, batches, _CLIENTS))
        for (name, by_length), found in measured.items():
            found.append(loops[name].tokens_per_s(sample, by_length=by_length))
    table = Table(
        "loop", "tokens/s", "served, tokens/s", "served / loop", title=f"{len(sample)} texts, {_CLIENTS} clients"
    )
    for (name, by_length), found in measured.items():
        ratios = sorted(ours / theirs for ours, theirs in zip(served[1:], found[1:], strict=True))
        figures = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        order = "by length" if by_length else "as they come"
        table.add_row(f"{name}, {order}", _median(found[1:]), _median(served[1:]), figures)
    return table


def _latency(target: Target, model: str, count: int) -> Table:
    table = Table("one short text", "median, ms", "p99, ms", title="latency")
    for beside_long in (False, True):
        found = sorted(short_latencies_s(target, model, count, beside_long=beside_long))
        name = "beside batches of 64 long ones" if beside_long else "alone"
        median, last = found[len(found) // 2], found[min(len(found) - 1, int(len(found) * 0.99))]
        table.add_row(name, f"{1000 * median:.1f}", f"{1000 * last:.1f}")
    return table


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f}"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server under test is stopped
    sys.exit(main(sys.argv[1:]))
