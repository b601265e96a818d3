"""A server with two keys, for the length of a measurement: this checkout's, or another's to compare with."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.child_server import ChildServer, Running, free_ports
from bench.load.connection import Target
from triton_repo.contract.api_key import API_KEY_VARIABLE

NOISY: Final = "sk-noisy"
QUIET: Final = "sk-quiet"

_START_TIMEOUT_S: Final = 600.0
_REJECTION: Final = re.compile(rb" (?:429|503) (\d+\.\d+) s id=")  # of `gateway.http.request_id`


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that is ready; the target has the noisy key."""

    target: Target
    running: Running

    @property
    def num_said(self) -> int:
        """Bytes of its log so far."""
        return len(self.running.said())

    def rejections_s(self, since: int) -> list[float]:
        """How long rejections took in the gateway, from a request's head to the end of its response.

        Those alone that its log has a line for, behind so many bytes: a few each second.
        """
        return logged_rejections_s(self.running.said(since))


@contextmanager
def serving(conch: Path, *arguments: str) -> Iterator[Serving]:
    """`CONCH serve ARGUMENTS` on free ports.

    Raises:
        BenchError: it was not ready in time.
    """
    port, metrics_port = free_ports(2)
    with tempfile.TemporaryDirectory() as directory:
        keys = Path(directory) / "keys"
        lines = [f"{key.removeprefix('sk-')} {hashlib.sha256(key.encode()).hexdigest()}\n" for key in (NOISY, QUIET)]
        keys.write_text("".join(lines), encoding="utf-8")
        flags = ("--port", str(port), "--triton-metrics-port", str(metrics_port), "--api-keys-file", str(keys))
        environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
        argv = [str(conch), "serve", *arguments, *flags]
        server = ChildServer("conch serve", argv, port, "/health/ready", environment, _START_TIMEOUT_S)
        with server.running() as running:
            yield Serving(Target.parse(f"http://127.0.0.1:{port}", NOISY), running)


def quiet(target: Target) -> Target:
    """The same server, asked with the other key."""
    return replace(target, api_key=QUIET)


def logged_rejections_s(log: bytes) -> list[float]:
    return [float(took_s) for took_s in _REJECTION.findall(log)]
