"""`python -m gateway` as a process: flags, key, signals and exit status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import httpx

WAIT_S = 120
ENVIRONMENT = {**os.environ, "CONCH_API_KEY": "sk-secret"}


def start(*flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *flags], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_live(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            assert httpx.get(f"{url}/health/live").status_code == 200
        except httpx.ConnectError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the gateway did not start")


def test_it_lives_without_triton_asks_for_its_key_and_ends_cleanly_on_sigterm() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start("--port", str(port), "--triton-grpc", "127.0.0.1:1")
    try:
        wait_until_live(url, process)
        assert httpx.get(f"{url}/health/ready").json()["reason"] == "the engine cannot be reached"
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"authorization": "Bearer sk-secret"}).status_code == 503
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log
    assert "sk-secret" not in log


def test_a_wrong_setting_ends_it_with_one_sentence() -> None:
    process = start("--port", "none")
    _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert log.splitlines() == [
        "gateway setting port = 'none': Input should be a valid integer, unable to parse string as an integer"
    ]
