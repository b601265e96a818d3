"""The command as a whole, on this machine."""

from __future__ import annotations

import json
import socket

import pytest

from launch.doctor.command import doctor
from tests.conftest import Stack, free_port
from triton_repo.contract.errors import LaunchError

FLAGS = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")


def free_ports() -> dict[str, int]:
    return {flag: free_port() for flag in FLAGS}


def test_a_machine_that_can_serve_passes(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(free_ports())
    table = capsys.readouterr().out
    assert "ERROR" not in table
    for what in ("python", "packages: gateway", "tritonserver", "libpython", "GPU", "memory", "open files"):
        assert what in table
    for what in ("host name", "clock", "engine demo", "disk", "shared memory", "server", "port"):
        assert what in table


def test_a_running_server_has_its_ports_and_is_looked_at(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    urls = (stack.gateway, stack.triton_http, stack.triton_grpc, stack.triton_metrics)
    ports = {flag: int(url.rpartition(":")[2]) for flag, url in zip(FLAGS, urls, strict=True)}
    assert doctor(ports, for_machines=True)
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["server"]["found"] == f"{stack.gateway} is ready"
    assert found["server version"]["severity"] == "ok"
    assert found[f"port {ports['--port']}"]["found"] == "of the server above"
    for flag in FLAGS[1:]:
        assert found[f"port {ports[flag]}"]["found"].startswith("of Triton, process ")


def test_ports_of_tritons_own_api_may_be_taken_where_it_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    """`conch serve` needs them with --expose-kserve alone."""
    ports = free_ports()
    with socket.create_server(("127.0.0.1", ports["--triton-http-port"])):
        assert doctor(ports)
        assert "needed with --expose-kserve alone" in capsys.readouterr().out
    with socket.create_server(("127.0.0.1", ports["--triton-metrics-port"])):
        assert not doctor(ports)


def test_a_missing_server_fails_with_the_way_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCH_TRITONSERVER", "/no/such")
    assert not doctor(free_ports())
    assert "CONCH_TRITONSERVER = /no/such" in capsys.readouterr().out


def test_a_key_that_no_header_can_carry_is_not_shown(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCH_API_KEY", "sk-secret\n")
    with pytest.raises(LaunchError, match=r"^CONCH_API_KEY = \(not shown\): no header can carry this key"):
        doctor({flag: int(stack.gateway.rpartition(":")[2]) for flag in FLAGS})
