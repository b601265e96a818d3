"""The real parts that tests share: one `conch serve` with the demo and the replay engine, for the whole run."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from triton_repo.contract.api_key import KSERVE_KEY_VARIABLE

# The workers share the cores: more threads of torch than one each would wait for each other, three times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
CONCH = Path(sys.executable).with_name("conch")
START_DEADLINE_S = 600
STOP_DEADLINE_S = 240
KSERVE_KEY = "of-the-tests-own-servers"  # of Triton's own API
HTTP_TIMEOUT_S = 240
# Started first, so that at the end no process waits for another one's long file. In order of their time.
LONGEST = tuple(
    ROOT / "tests" / name
    for name in (
        "docs/test_examples.py",
        "serving/test_faults.py",
        "build_scripts/tensorrt_llm/test_build.py",
        "build_scripts/test_build.py",
        "build_scripts/tensorrt_llm/test_compile.py",
        "launch/test_serve.py",
        "bench/sweep/test_sweep.py",
        "serving/test_smollm2.py",
        "triton_repo/engine/runtimes/test_openvino_speculation.py",
        "gateway/processes/test_supervisor.py",
        "build_scripts/verify/test_verify_command.py",
        "build_scripts/source/test_tokenizer.py",
        "build_scripts/test_interruption.py",
        "serving/test_encoders.py",
        "triton_repo/engine/runtimes/test_openvino_cache.py",
        "triton_repo/detokenize/test_detokenizer.py",
    )
)

# A shell has what it runs in the background ignore SIGINT, and so would every server that a test sends one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# So does `nohup` with SIGHUP; this process goes on without its terminal.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# A busy machine makes everything slow, and slow is not wrong: hypothesis measures no test, and what httpx waits for
# by default (5 s) is no shorter than what the tests name.
hypothesis.settings.register_profile(
    "conch",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("conch")
_default = inspect.signature(httpx.get).parameters["timeout"].default
_default.connect = _default.read = _default.write = _default.pool = HTTP_TIMEOUT_S

# httpx.get and its kind make a client for each request, and each client, of OpenAI's too, would read every certificate
# authority that there is: 23 ms of computing, thousands of times.
for _library in filter(importlib.util.find_spec, ("httpx", "httpx2")):
    _transports: Any = importlib.import_module(f"{_library}._transports.default")
    _transports.create_ssl_context = functools.cache(_transports.create_ssl_context)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, for `--no-loadscope-reorder`: xdist would begin with those that have most tests."""
    rank = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@dataclass(frozen=True)
class Stack:
    """A running `conch serve`: where each part listens."""

    gateway: str
    triton_http: str
    triton_grpc: str
    triton_metrics: str
    pid: int

    def engine_metric(self, name: str, **labels: str) -> float:
        """A `conch_engine_*` value from Triton's /metrics; raises KeyError for a series that is not there."""
        body = httpx.get(f"{self.triton_metrics}/metrics").text
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in body.splitlines():
            series, _, value = line.rpartition(" ")
            if series.startswith(f"{name}{{") and wanted <= set(series[len(name) + 1 : -1].split(",")):
                return float(value)
        raise KeyError(name, labels)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(
    *engines: str, log: Path, conch: Sequence[str] = (str(CONCH),), kserve_host: str = "127.0.0.1", grpc_port: int = 0
) -> Iterator[Stack]:
    """`conch serve ENGINES` on free ports, Triton's own API included, ended by SIGTERM; fails if that is not clean.

    Triton's own API is at `kserve_host`, on loopback without its key, and its gRPC at `grpc_port` if one is given.
    """
    ports = [free_port(), free_port(), grpc_port or free_port(), free_port()]
    names = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
    argv = [*conch, "serve", *engines, "--expose-kserve", "--kserve-host", kserve_host]
    argv += ["--kserve-without-key"] if kserve_host == "127.0.0.1" else []
    argv += [word for name, port in zip(names, ports, strict=True) for word in (name, str(port))]
    with log.open("wb") as output:
        environment = {**os.environ, KSERVE_KEY_VARIABLE: KSERVE_KEY}
        server = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_ready(f"http://127.0.0.1:{ports[0]}", server, log)
            yield Stack(
                gateway=f"http://127.0.0.1:{ports[0]}",
                triton_http=f"http://{kserve_host}:{ports[1]}",
                triton_grpc=f"{kserve_host}:{ports[2]}",
                triton_metrics=f"http://127.0.0.1:{ports[3]}",
                pid=server.pid,
            )
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(STOP_DEADLINE_S)
            finally:
                server.kill()
    assert server.returncode == 0, log.read_text()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The one server with both engines that most tests share."""
    with serving("demo", "replay", log=tmp_path_factory.mktemp("stack") / "serve.log") as running:
        yield running


@pytest.fixture(scope="session")
def gateway_url(stack: Stack) -> str:
    return stack.gateway


def wait_ready(gateway: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for `/health/ready`, by deadline and by the life of the server."""
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            if httpx.get(f"{gateway}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert server.poll() is None, f"conch serve ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"conch serve is not ready:\n{log.read_text()}"
        time.sleep(0.1)
