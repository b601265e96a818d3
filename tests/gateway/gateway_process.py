"""`python -m gateway` as an operator runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import KSERVE_KEY, free_port
from tests.waiting import WAIT_S, wait_for
from triton_repo.contract.api_key import KSERVE_KEY_VARIABLE


class Gateway:
    """A running gateway, its log, and its workers by process id."""

    def __init__(
        self,
        *flags: str,
        environment: dict[str, str] | None = None,
        open_files: tuple[int, int] | None = None,
        name_server: Path | None = None,
    ) -> None:
        """`open_files` are its soft and its hard limit; `name_server` is what it finds at /etc/resolv.conf."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [
                *_limiting(open_files),
                *_resolving(name_server),
                sys.executable,
                "-m",
                "gateway",
                "--port",
                str(self.port),
                *flags,
            ],
            env={**os.environ, KSERVE_KEY_VARIABLE: KSERVE_KEY, **(environment or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as log:
            self._lines.extend(iter(log.readline, ""))

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for file in children for pid in file.read_text().split()]

    def wait_until_live(self) -> None:
        wait_for(lambda: self._answers() or self.process.poll() is not None, lambda: self.log)
        assert self.process.poll() is None, self.log

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def ends(self) -> int:
        """Its exit status, once it and all that writes to its log have ended."""
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert not self._reader.is_alive(), self.log
        return status

    def stop(self, *numbers: signal.Signals) -> int:
        for number in numbers:
            self.process.send_signal(number)
        return self.ends()


def _limiting(open_files: tuple[int, int] | None) -> tuple[str, ...]:
    if open_files is None:
        return ()
    soft, hard = open_files
    return ("/bin/sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "sh")


def _resolving(name_server: Path | None) -> tuple[str, ...]:
    if name_server is None:
        return ()
    return ("unshare", "-m", "/bin/sh", "-c", f'mount --bind {name_server} /etc/resolv.conf && exec "$@"', "sh")


@contextmanager
def running(
    *flags: str,
    environment: dict[str, str] | None = None,
    open_files: tuple[int, int] | None = None,
    name_server: Path | None = None,
) -> Iterator[Gateway]:
    """A live gateway; told twice to end if the test has not stopped it."""
    gateway = Gateway(*flags, environment=environment, open_files=open_files, name_server=name_server)
    try:
        gateway.wait_until_live()
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.stop(signal.SIGTERM, signal.SIGINT)
        gateway.ends()
