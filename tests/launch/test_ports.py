from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from launch.ports import Listener, check_ports, claimed_ports
from triton_repo.contract.errors import LaunchError


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_free_ports_pass_and_stay_free(free_port: Callable[[], int]) -> None:
    listeners = [Listener("--port", "127.0.0.1", free_port())]
    check_ports(listeners)
    check_ports(listeners)


def test_a_busy_port_is_named_with_its_flag(busy: int) -> None:
    with pytest.raises(LaunchError, match=rf"^port {busy} \(--triton-grpc-port\) on 127.0.0.1 is already in use"):
        check_ports([Listener("--triton-grpc-port", "127.0.0.1", busy)])


def test_a_port_that_is_busy_on_loopback_cannot_be_taken_on_every_address(busy: int) -> None:
    with pytest.raises(LaunchError, match="is already in use"):
        check_ports([Listener("--port", "0.0.0.0", busy)])


def test_a_port_that_another_start_has_claimed_is_taken_before_it_listens(free_port: Callable[[], int]) -> None:
    mine, other = (Listener("--port", "127.0.0.1", free_port()) for _ in range(2))
    with claimed_ports([mine]):
        with pytest.raises(LaunchError, match=rf"^port {mine.port} \(--port\) on 127.0.0.1 is already in use"):
            claimed_ports([other, mine]).__enter__()
        with claimed_ports([other]), socket.create_server((mine.host, mine.port)):
            pass
    with claimed_ports([mine, other]):
        pass


def test_one_port_for_two_flags_names_both(free_port: Callable[[], int]) -> None:
    port = free_port()
    listeners = [Listener(flag, "127.0.0.1", port) for flag in ("--port", "--triton-http-port")]
    with pytest.raises(LaunchError, match=rf"^--port and --triton-http-port are both {port}; give each its own port$"):
        check_ports(listeners)


def test_a_host_that_is_not_this_machine_is_an_error() -> None:
    with pytest.raises(LaunchError, match=r"^port 9000 \(--port\) on 192\.0\.2\.1 cannot be used: Cannot assign"):
        check_ports([Listener("--port", "192.0.2.1", 9000)])
