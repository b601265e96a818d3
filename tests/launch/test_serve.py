"""`conch serve` whole: a real tritonserver, the real gateway, an engine without a model."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.settings import Settings
from launch.kserve import Exposure, private_sockets
from launch.serving.announcement import ready_message
from launch.serving.options import ServeOptions
from launch.serving.run_directory import RunDirectory
from launch.serving.services import gateway_service
from tests.launch.replay_engine import write_spec
from tests.launch.server import KEY, Server, listening_ports, regions, serving
from tests.waiting import wait_for
from triton_repo.contract.http_probe import http_status

FreePort = Callable[[], int]
OPTIONS = ServeOptions(("demo",), Settings(), Exposure(8000, 8001), 8002)


def is_gateway(command: bytes) -> bool:
    return command.split(b"\0")[1:3] in ([b"-m", b"gateway"], [b"-m", b"gateway.processes.worker"])


def four(free_port: FreePort) -> list[int]:
    return [free_port() for _ in range(4)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_a_signal_ends_it_without_a_trace(
    tmp_path: Path, free_port: FreePort, number: signal.Signals
) -> None:
    with serving(write_spec(tmp_path), four(free_port)) as server:
        assert http_status(f"{server.url}/health/ready") == 200
        assert server.said(f"Conch is ready: {server.url}  (engines: tale; started in ")
        assert len(server.descendants()) == 7  # tritonserver, its three stubs, two of templates, the gateway
        assert regions(prefix := server.shm_prefix())
        assert server.stop(number) == 0, server.output
        assert (server.descendants(), regions(prefix)) == ({}, [])
        assert KEY not in server.output
        assert "Traceback" not in server.output


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: FreePort) -> Iterator[Server]:
    """Its spec lies in a path with blanks and other characters than ASCII."""
    directory = tmp_path_factory.mktemp("serve")
    path = directory / "my engines, größer 引擎"
    path.mkdir()
    with serving(write_spec(path), four(free_port), runtime_directory=directory) as running:
        yield running


def test_an_engine_is_served_from_a_path_with_blanks_and_other_letters(server: Server) -> None:
    assert http_status(f"{server.url}/health/ready") == 200


def test_triton_has_no_port_of_its_own_api(server: Server) -> None:
    """Nothing is on loopback but the gateway and Triton's metrics, and its sockets are its user's alone."""
    assert listening_ports(server.descendants()) == {server.ports[0], server.ports[3]}
    (directory,) = {path.parent for path in server.directory.glob("conch-*/http")}
    assert directory.stat().st_mode & 0o077 == 0


def test_only_the_gateway_knows_the_key(server: Server) -> None:
    for pid, command in server.descendants().items():
        known = KEY.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        assert known == is_gateway(command)
        assert KEY.encode() not in command


def test_the_gateway_outlives_a_killed_triton_and_is_ready_again(tmp_path: Path, free_port: FreePort) -> None:
    with serving(write_spec(tmp_path), four(free_port)) as server:
        before = server.descendants()
        (gateway,) = [pid for pid, command in before.items() if is_gateway(command)]
        (triton,) = [pid for pid, command in before.items() if command.split(b"\0")[0].endswith(b"/tritonserver")]
        os.kill(triton, signal.SIGKILL)
        wait_for(lambda: server.said("triton is ready again"), lambda: server.output)
        wait_for(lambda: http_status(f"{server.url}/health/ready") == 200, lambda: server.output)
        assert set(before) & set(server.descendants()) == {gateway}
        prefix = server.shm_prefix()
        assert server.stop() == 0
        assert (server.descendants(), regions(prefix)) == ({}, [])


def test_a_gateway_of_several_workers_replaces_one_that_dies_and_leaves_no_trace(
    tmp_path: Path, free_port: FreePort
) -> None:
    with serving(write_spec(tmp_path), four(free_port), "--workers", "2") as server:
        wait_for(lambda: all(server.said(f"gateway worker {slot} serves") for slot in (0, 1)), lambda: server.output)
        before = server.descendants()
        assert len(before) == 9  # tritonserver, its three stubs, two of templates, the gateway with two workers
        killed = next(pid for pid, command in before.items() if b"\0gateway.processes.worker\0" in command)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: server.said(" serves again"), lambda: server.output)
        assert server.said(f"(process {killed}) was killed by SIGKILL; starting it again in 0.5 s")
        assert set(before) - set(server.descendants()) == {killed}
        assert len(server.descendants()) == 9
        prefix = server.shm_prefix()
        assert server.stop() == 0, server.output
        assert (server.descendants(), regions(prefix)) == ({}, [])
        assert KEY not in server.output
        assert "Traceback" not in server.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_outlives_a_server_that_is_killed(tmp_path: Path, free_port: FreePort, workers: str) -> None:
    with serving(write_spec(tmp_path), four(free_port), "--workers", workers) as server:
        prefix = server.shm_prefix()
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: not server.descendants(), lambda: str(server.descendants()))
        wait_for(lambda: not regions(prefix), lambda: str(regions(prefix)))


def test_the_gateway_gets_its_address_tritons_address_and_the_key_by_environment() -> None:
    settings = Settings(host="0.0.0.0", port=80, api_key=SecretStr(KEY))
    access = private_sockets(Path("/run/conch-1"))
    environment = {"HOME": "/me", "CONCH_KSERVE_KEY": "of another server"}
    directory = RunDirectory(Path("/run/conch-1"))
    gateway = gateway_service(ServeOptions(("a",), settings, Exposure(81, 82), 83), directory, environment, access)
    assert gateway.argv[1:7] == ("-m", "gateway", "--host", "0.0.0.0", "--port", "80")
    assert gateway.argv[7:9] == ("--triton-grpc", "unix:/run/conch-1/grpc:1")
    assert gateway.argv[9:11] == ("--engine-states-file", "/run/conch-1/engine-states")
    assert gateway.argv[11:13] == ("--orders-socket", "/run/conch-1/orders")
    assert gateway.argv[13:] == ("--triton-metrics", "127.0.0.1:83")
    assert gateway.environment == {
        "HOME": "/me",
        "CONCH_API_KEY": KEY,
        "CONCH_KSERVE_KEY": "",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": "/run/conch-1",
    }
    assert gateway.ready_urls == ("http://127.0.0.1:80/health/ready",)


def test_the_ready_message_names_the_key_by_its_variable_only() -> None:
    options = ServeOptions(("a",), Settings(host="::", api_key=SecretStr(KEY)), Exposure(8000, 8001), 8002)
    message = ready_message(options, {"a": "generate", "b": "generate"}, 3.21)
    assert message == (
        "\nConch is ready: http://[::1]:9000  (engines: a, b; started in 3.2 s)\n"
        "  chat in a browser:  http://[::1]:9000/\n"
        "  chat in a terminal: conch chat --url http://[::1]:9000/v1\n"
        '  curl http://[::1]:9000/v1/chat/completions -H "Authorization: Bearer $CONCH_API_KEY"'
        " -H 'Content-Type: application/json'"
        """ -d '{"model": "a", "messages": [{"role": "user", "content": "Hello!"}]}'\n"""
    )
    assert "Authorization" not in ready_message(OPTIONS, {"demo": "generate"}, 1)
