"""One measured run: warm up, send the load, watch the processes, summarize."""

from __future__ import annotations

import http.client
import resource
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import uvloop

from bench.load.answer import Record
from bench.load.connection import Client, Target
from bench.load.generator import Bounds, ClosedLoop, Loop
from bench.load.summary import Slo, Summary, summarize
from bench.load.workload import Workload
from bench.processes import ProcessTrees
from triton_repo.contract.errors import BenchError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send to one server, and what to watch meanwhile."""

    target: Target
    workload: Workload
    bounds: Bounds
    warmup: int = 0
    timeout_s: float = 600.0
    slo: Slo | None = None
    cpu_of: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """The records of one run; `server_cpu_s` None if no process was watched, or one that was has ended."""

    records: Sequence[Record]
    client_cpu_s: float
    server_cpu_s: float | None


async def measure(plan: Plan, loop: Loop) -> Measurement:
    """Warm up with requests that nobody counts, then run. Which request asks what depends on the seed alone."""
    with closing(Client(plan.target, plan.timeout_s)) as client:

        async def ask(body: bytes, due_s: float) -> Record:
            return await client.ask(plan.workload.path, body, due_s)

        if plan.warmup:
            warming = ClosedLoop(loop.concurrency if isinstance(loop, ClosedLoop) else min(8, plan.warmup))
            await warming.run(ask, plan.workload.bodies(f"warm-up of {loop.name}"), Bounds(plan.warmup))
        watched = ProcessTrees(plan.cpu_of)
        server_before_s, client_before_s = watched.cpu_s(), time.process_time()
        records = await loop.run(ask, plan.workload.bodies(loop.name), plan.bounds)
        client_cpu_s = time.process_time() - client_before_s
        server_cpu_s = watched.cpu_s() - server_before_s if plan.cpu_of else None
        if server_cpu_s is not None and server_cpu_s < 0:
            server_cpu_s = None  # a server that ended meanwhile took its CPU time with it
    if not records:
        raise BenchError("no request was due within the bounds of the run: raise --duration, --requests or --rate")
    return Measurement(records, client_cpu_s, server_cpu_s)


async def run(plan: Plan, loop: Loop) -> Summary:
    result = await measure(plan, loop)
    return summarize(loop.name, result.records, plan.slo, result.client_cpu_s, result.server_cpu_s)


def run_all(plan: Plan, loops: Sequence[Loop], started: Callable[[Loop], None] = lambda _: None) -> list[Summary]:
    """One run after the other."""
    summaries = []
    for loop in loops:
        started(loop)
        summaries.append(execute(run(plan, loop)))
    return summaries


def execute(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, with as many sockets as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return uvloop.run(work)


def first_model(target: Target) -> str:
    """The first model that the server lists.

    Raises:
        BenchError: nothing answers, or nothing is listed.
    """
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    connection = kind(target.host, target.port, timeout=10)
    headers = {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}
    try:
        connection.request("GET", f"{target.prefix}/v1/models", headers=headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{target.url}: nothing answers: {error}") from error
    finally:
        connection.close()
    return _first(target, response.status, body)


def _first(target: Target, status: int, body: bytes) -> str:
    try:
        listed: list[dict[str, Any]] = orjson.loads(body)["data"]
        return str(listed[0]["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise BenchError(f"{target.url}/v1/models: no model is listed (HTTP {status}); name one: --model") from error
