"""Three real `conch serve` with the same engine, as a proxy in front of them finds them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from launch.shared_memory import remove_shared_memory
from tests.conftest import free_port
from tests.gateway.scrape import scrape, value
from tests.launch.replay_engine import write_spec
from tests.launch.server import KEY, Server
from tests.waiting import wait_for

WAIT_S: Final = 240
HEADERS: Final = {"authorization": f"Bearer {KEY}"}
MODEL: Final = "tale"
_PORT_FLAGS: Final = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")


@dataclass
class Replica:
    """One of them, always at the same port; `start` after `kill` or `stop`.

    Attributes:
        left: the prefixes of the regions of shared memory that it left when it was killed.
    """

    spec: Path
    directory: Path
    arguments: tuple[str, ...] = ()
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in _PORT_FLAGS])
    server: Server | None = None
    left: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def url(self) -> str:
        return f"http://{self.endpoint}"

    def start(self) -> None:
        flags = [word for flag, port in zip(_PORT_FLAGS, self.ports, strict=True) for word in (flag, str(port))]
        self.server = Server((str(self.spec), *flags, *self.arguments), self.ports, self.directory)

    def wait(self) -> None:
        server = self.running
        wait_for(lambda: server.said("Conch is ready") or server.process.poll() is not None, lambda: server.output)
        assert server.process.poll() is None, server.output

    @property
    def running(self) -> Server:
        assert self.server is not None
        return self.server

    def kill(self) -> None:
        """All of its processes at once, as a machine that loses its power."""
        server = self.running
        self.left.append(server.shm_prefix())
        processes = (server.process.pid, *server.descendants())
        for end in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none tells of another's end
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, end)
        server.process.wait(WAIT_S)

    def is_ready(self) -> bool:
        return is_ready(self.endpoint)

    def count(self, name: str, **labels: str) -> float:
        return value(scrape(self.url), name, **labels)

    def in_flight(self) -> float:
        return self.count("conch_requests_in_flight")

    def cancelled_in_engine(self) -> float:
        series = scrape(f"http://127.0.0.1:{self.ports[3]}")
        return value(series, "conch_engine_requests_ended_total", model=MODEL, outcome="cancelled")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        wait_for(condition, lambda: what)


def is_ready(endpoint: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{endpoint}/health/ready").status_code == 200
    return False


@contextmanager
def replicas(directory: Path, num: int, *arguments: str) -> Iterator[tuple[Replica, ...]]:
    """`num` of them, ready; each token takes 50 ms."""
    spec = write_spec(directory, MODEL, tokens_per_second=20)
    all_of_them = tuple(Replica(spec, directory, arguments) for _ in range(num))
    try:
        for each in all_of_them:
            each.start()
            each.wait()  # the first builds the engine
        yield all_of_them
    finally:
        for each in all_of_them:
            if each.server and each.server.process.poll() is None:
                each.server.stop()
            for prefix in each.left:  # no later start of its own has removed them
                remove_shared_memory(prefix)
