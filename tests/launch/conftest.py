"""Small real processes in the part of servers, and what they may not leave behind."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from launch.descendants import marked_processes
from launch.service import Service
from launch.shared_memory import SHM
from launch.supervisor import Supervisor
from tests.launch.echo_triton import MakeTriton, echo_triton
from triton_repo.contract.health.restart_policy import RestartPolicy

WAIT_S = 240

STAYS = "import time; print('up', flush=True); time.sleep(600)"
SAYS_BYE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    print('up', flush=True)
    while True: time.sleep(1)
finally:
    print('bye', flush=True)
"""
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(600)
"""


class Log(list[tuple[str, str]]):
    """Collects the lines of all sources."""

    def __call__(self, source: str, line: str) -> None:
        self.append((source, line))

    def saying(self, text: str) -> list[str]:
        """Sources of the lines that contain `text`, in their order."""
        return [source for source, line in self if text in line]


def service(name: str, code: str, **options: Any) -> Service:
    mark = uuid.uuid4().hex
    return Service(name=name, argv=(sys.executable, "-c", code), environment=dict(os.environ), mark=mark, **options)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, within a bound that only a failure reaches."""

    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(poll(), WAIT_S)


Running = Callable[..., AbstractAsyncContextManager[Supervisor]]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def running(log: Log) -> Running:
    """`async with running(*services)`: they are ready in the block, stopped after it, and nothing is left."""

    @asynccontextmanager
    async def run(*services: Service, policy: RestartPolicy | None = None) -> AsyncIterator[Supervisor]:
        supervisor = Supervisor(services, log, policy or RestartPolicy(first_delay_s=0.05, healthy_s=600))
        ready = asyncio.Event()
        task = asyncio.create_task(supervisor.run(ready.set))
        waiting = asyncio.create_task(ready.wait())
        both: set[asyncio.Task[Any]] = {task, waiting}
        await asyncio.wait(both, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            if ready.is_set():
                yield supervisor
        finally:
            supervisor.request_stop()
            await asyncio.wait_for(task, WAIT_S)
            assert_nothing_left(*services)

    return run


def assert_nothing_left(*services: Service) -> None:
    for one in services:
        assert marked_processes(one.mark) == ()
        assert not one.shm_prefix or not list(SHM.glob(f"{one.shm_prefix}*"))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def make_triton(tmp_path: Path, free_port: Callable[[], int]) -> MakeTriton:
    return partial(echo_triton, tmp_path, (free_port(), free_port(), free_port()))
