"""Stop signals while a hundred answers are streamed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.reports import report
from tests.faults.streams import Poller, a_story, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import regions, serving

STREAMS = 100
WITHIN_THE_GRACE, BEYOND_IT = 200, 1900  # tokens, at 50 a second

pytestmark = pytest.mark.fault


class Stop(NamedTuple):
    """A signal to `conch serve` alone or to every process, and how its streams must end."""

    number: signal.Signals
    to_all: bool
    grace_s: int
    tokens: int
    end: str


@pytest.mark.parametrize(
    "stop",
    [
        Stop(signal.SIGTERM, False, 30, WITHIN_THE_GRACE, "complete"),
        Stop(signal.SIGTERM, True, 30, WITHIN_THE_GRACE, "complete"),
        Stop(signal.SIGHUP, False, 30, WITHIN_THE_GRACE, "complete"),
        Stop(signal.SIGTERM, False, 2, BEYOND_IT, "error"),
        Stop(signal.SIGTERM, True, 2, BEYOND_IT, "error"),
    ],
    ids=str,
)
def test_a_stop_ends_every_stream_whole_or_with_an_error_event(
    tmp_path: Path, free_port: Callable[[], int], stop: Stop
) -> None:
    spec = write_spec(tmp_path, tokens_per_second=50)
    with serving(spec, [free_port() for _ in range(4)], "--shutdown-grace-s", str(stop.grace_s)) as server:
        prefix, stopped_s = server.shm_prefix(), 0.0

        async def send() -> None:
            nonlocal stopped_s
            stopped_s = time.monotonic()
            for pid in (*(server.descendants() if stop.to_all else ()), server.process.pid):
                os.kill(pid, stop.number)

        with Poller(f"{server.url}/v1/completions", {**a_story(2), "stream": False}) as asks:
            ends = asyncio.run(run_streams(server.url, STREAMS, stop.tokens, send))
        assert server.process.wait(240) == 0, server.output
        exited_s = time.monotonic()
        assert (server.descendants(), regions(prefix)) == ({}, [])
    report(
        f"{stop.number.name} to {'every process' if stop.to_all else 'conch'}, grace {stop.grace_s} s",
        streams=kinds(ends),
        ended_to=max(one.ended_s for one in ends) - stopped_s,
        exit_after=exited_s - stopped_s,
        new_requests=asks.statuses(stopped_s),
    )
    waited = set() if stop.end == "complete" else {"status 503"}  # for their turn
    assert kinds(ends).keys() <= {stop.end, *waited}
    asked = dict(asks.statuses(stopped_s))
    assert asked.pop(200, 0) <= 1  # on its way when the signal came
    assert asked.keys() <= {0, 503}
