"""A port that several processes listen on: shared among them, and with no other program."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import ExitStack, closing

import pytest

from gateway.processes.shared_port import SharedPort
from triton_repo.contract.errors import LaunchError

LOOPBACK = "127.0.0.1"


def test_connections_reach_the_sockets_that_listen_and_no_others() -> None:
    with closing(SharedPort(LOOPBACK, 0)) as port, ExitStack() as open_sockets:
        listening, *idle = (port.sockets()[0] for _ in range(3))
        for one in (listening, *idle):
            open_sockets.enter_context(one)
        listening.listen()
        for _ in range(20):
            with socket.create_connection((LOOPBACK, port.number)), listening.accept()[0]:
                pass


def test_connections_are_spread() -> None:
    with closing(SharedPort(LOOPBACK, 0)) as port, ExitStack() as open_sockets:
        listening = [open_sockets.enter_context(port.sockets()[0]) for _ in range(4)]
        for one in listening:
            one.listen(128)
        for _ in range(100):
            open_sockets.enter_context(socket.create_connection((LOOPBACK, port.number)))
        taken: Counter[int] = Counter()
        for one in listening:
            one.setblocking(False)
            while True:
                try:
                    open_sockets.enter_context(one.accept()[0])
                except BlockingIOError:
                    break
                taken[one.fileno()] += 1
    assert len(taken) == 4
    assert taken.total() == 100


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_in_use_is_rejected_also_where_its_user_would_share_it(shared: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        other.bind((LOOPBACK, 0))
        other.listen()
        number = other.getsockname()[1]
        with pytest.raises(LaunchError) as raised:
            SharedPort(LOOPBACK, number)
    assert str(raised.value) == f"port {number} on 127.0.0.1 cannot be listened on: Address already in use"


def test_two_gateways_cannot_share_a_port() -> None:
    with closing(SharedPort(LOOPBACK, 0)) as port, port.sockets()[0] as listening:
        listening.listen()
        with pytest.raises(LaunchError, match="Address already in use"):
            SharedPort(LOOPBACK, port.number)


def test_the_port_is_kept_while_no_process_listens_and_free_afterwards() -> None:
    with closing(SharedPort(LOOPBACK, 0)) as port:
        for _ in range(2):
            with port.sockets()[0] as listening:
                listening.listen()
                with socket.create_connection((LOOPBACK, port.number)), listening.accept()[0]:
                    pass
        with socket.socket() as other, pytest.raises(OSError, match="already in use"):
            other.bind((LOOPBACK, port.number))
    SharedPort(LOOPBACK, port_number := listening_port()).close()
    assert port_number


def listening_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def test_every_address_of_a_name_is_listened_on_with_one_number() -> None:
    with closing(SharedPort("localhost", 0)) as port, ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(one) for one in port.sockets()]
        assert {one.getsockname()[1] for one in sockets} == {port.number}
        assert len(sockets) == len({address for *_, address in socket.getaddrinfo("localhost", 0, type=1)})


def test_a_host_that_is_not_here_is_one_sentence() -> None:
    with pytest.raises(LaunchError, match=r"^port 9000 on 192\.0\.2\.1 cannot be listened on: Cannot assign"):
        SharedPort("192.0.2.1", 9000)
