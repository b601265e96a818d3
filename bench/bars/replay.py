"""Load for the `replay` engine, whose answers are as long as they are asked to be."""

from __future__ import annotations

from bench.load.distribution import Fixed
from bench.load.generator import Bounds, ClosedLoop
from bench.load.run import Plan, execute, run
from bench.load.summary import Summary
from bench.load.workload import Workload
from bench.server import Server
from triton_repo.contract.errors import BenchError


def workload(model: str, tokens: int) -> Workload:
    return Workload(model, Fixed(32), Fixed(tokens), ignore_eos=True)


def closed_loop(server: Server, load: Workload, concurrency: int, requests: int) -> Summary:
    """A warmed-up run in which every request succeeds, with the server's CPU; BenchError if one fails."""
    plan = Plan(server.target, load, Bounds(requests), warmup=4 * concurrency, cpu_of=[server.pid])
    summary = execute(run(plan, ClosedLoop(concurrency)))
    if summary.failed:
        raise BenchError(f"{summary.failed} of {requests} requests failed: {next(iter(summary.errors))}")
    return summary
