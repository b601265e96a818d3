"""`transformers serve --continuous-batching` for the length of a measurement, on the CPU, in float32."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.child_server import ChildServer, free_ports
from bench.load.connection import Target
from bench.versus.contestant import Contestant
from triton_repo.contract.distribution import install_command
from triton_repo.contract.errors import BenchError

_START_TIMEOUT_S: Final = 120.0
_ENVIRONMENT: Final = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextmanager
def transformers_serve(checkpoint: Path) -> Iterator[Contestant]:
    """Serve the checkpoint on a free port until the end of the block.

    Raises:
        BenchError: a package that it needs is not there, or it does not start.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise BenchError(f"transformers serve needs accelerate: {install_command('versus')}")
    (port,) = free_ports(1)
    argv = [str(Path(sys.executable).with_name("transformers")), "serve", str(checkpoint)]
    argv += ["--continuous-batching", "--device", "cpu", "--dtype", "float32", "--log-level", "error"]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, **_ENVIRONMENT}
    server = ChildServer("transformers serve", argv, port, "/health", environment, _START_TIMEOUT_S)
    with server.running() as running:
        target = Target("127.0.0.1", port, tls=False, prefix="", sends_done=False)
        yield Contestant("transformers serve, float32", target, str(checkpoint), running.pid)
