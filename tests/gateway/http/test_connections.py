"""What ends connections, and how many there may be."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.http import slow_clients
from gateway.http.connections import KEPT_FOR_HEALTH, Connections
from tests.gateway.bodies import CHAT, COMPLETIONS, chat, refusal
from tests.gateway.gateway_process import running
from tests.gateway.http.raw_client import LIVE, connect, received_to_the_end, received_until, streamed
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving

KEY = "sk-secret"
LENGTH = b"content-length: 1000000\r\n"
CHUNKS = b"transfer-encoding: chunked\r\n"
JSON = b"content-type: application/json\r\n"
EARLY = {  # answered before their body is there
    b"POST %b HTTP/1.1\r\nhost: x\r\n" % CHAT.encode() + JSON: b"401",
    b"POST /no/such/path HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-secret\r\n": b"404",
    b"GET %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-secret\r\n" % CHAT.encode(): b"405",
    b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-secret\r\n" % COMPLETIONS.encode(): b"415",
    b"POST %b HTTP/1.1\r\nhost: evil.example\r\n" % CHAT.encode(): b"421",
    b"GET /health/live HTTP/1.1\r\nhost: x\r\n": b"200",
    b"GET / HTTP/1.1\r\nhost: x\r\n": b"200",
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with serving(ScriptedBackend(), api_key=KEY) as running:
        yield running


@pytest.mark.parametrize("length", [LENGTH, CHUNKS])
@pytest.mark.parametrize("head", EARLY)
def test_a_response_before_the_end_of_the_body_ends_the_connection(
    gateway: Running, head: bytes, length: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "LINGER_S", 0.5)
    with connect(gateway) as client:
        client.sendall(head + length + b"\r\n" + (b"7\r\n" if length == CHUNKS else b"") + b'{"a": 1')
        answer = received_to_the_end(client)  # its end is sent although the client goes on sending
        assert answer.startswith(b"HTTP/1.1 " + EARLY[head])
        assert b"\r\nconnection: close\r\n" in answer
        with pytest.raises(ConnectionError):
            drip(client)  # does not keep it


def drip(client: socket.socket) -> None:
    """Send a byte now and then."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        client.sendall(b"x")
        time.sleep(0.05)


def test_a_client_that_sends_a_large_body_gets_the_response_that_did_not_wait_for_it(gateway: Running) -> None:
    answer = httpx.post(gateway.url + CHAT, content=b" " * (12 * 2**20), headers={"host": "x"})
    assert answer.status_code == 401


def test_a_connection_whose_request_is_read_to_its_end_goes_on(gateway: Running) -> None:
    body = chat(stream=False)
    request = b"POST %b HTTP/1.1\r\nhost: x\r\n%bauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
    head = request % (CHAT.encode(), JSON, KEY.encode(), len(body))
    wrong = request % (CHAT.encode(), JSON, b"wrong", len(body))
    with connect(gateway) as client:
        for sent, status in ((head + body, b"200"), (wrong + body, b"401"), (head + body, b"200")):
            client.sendall(sent)
            answer = received_until(client, b"}}" if status == b"401" else b"usage")
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert b"connection: close" not in answer
            time.sleep(0.05)


def test_one_connection_too_many_closes_the_one_that_has_been_idle_longest() -> None:
    with serving(ScriptedBackend(), max_connections=3) as gateway, ExitStack() as opened:
        clients = []
        for _ in range(3):
            client = opened.enter_context(connect(gateway))
            client.sendall(LIVE % b"")
            received_until(client, b"live")
            clients.append(client)
        clients[0].sendall(LIVE % b"")
        received_until(clients[0], b"live")
        assert httpx.get(gateway.url + "/health/live", headers={"host": "x"}).status_code == 200
        assert clients[1].recv(1) == b""
        for client in (clients[0], clients[2]):
            client.sendall(LIVE % b"")
            received_until(client, b"live")


def test_where_all_are_busy_only_health_checks_are_answered() -> None:
    backend = ScriptedBackend([delta("Hello"), HANG])
    with serving(backend, max_connections=2) as gateway, ExitStack() as opened:
        for _ in range(2):
            client = opened.enter_context(connect(gateway))
            client.sendall(streamed())
            received_until(client, b"Hello")
        for path, status in (("/health/live", 200), ("/v1/models", 503), ("/health/ready", 200)):
            assert httpx.get(gateway.url + path, headers={"host": "x"}).status_code == status
        rejected = httpx.get(gateway.url + "/v1/models", headers={"host": "x", "x-request-id": "mine"})
    assert refusal(rejected, 503)["code"] == "server_is_overloaded"
    assert (rejected.headers["x-request-id"], rejected.headers["connection"]) == ("mine", "close")
    assert rejected.headers["retry-after"].isdecimal()


def test_a_request_that_waited_behind_a_response_keeps_its_connection() -> None:
    backend = ScriptedBackend([delta("Hello"), HANG])
    with serving(backend, max_connections=1) as gateway, connect(gateway) as client:
        client.sendall(LIVE % b"" + streamed())
        received_until(client, b"Hello")
        assert httpx.get(gateway.url + "/v1/models", headers={"host": "x"}).status_code == 503
        assert not backend.cancelled


class Connection:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_busy_connection_is_never_closed_for_another() -> None:
    connections = Connections(2)
    busy = [Connection(), Connection()]
    for one in busy:
        assert connections.add(one)
        connections.set_busy(one)
    more = [Connection() for _ in range(KEPT_FOR_HEALTH + 2)]
    assert not connections.add(more[0])
    for one in more[1:]:
        connections.add(one)
    assert [one.aborted for one in busy] == [False, False]
    for one in (*more, *busy):
        connections.remove(one)
    assert connections.add(Connection())


def test_to_take_the_place_of_a_connection_for_health_checks_is_to_be_one() -> None:
    connections = Connections(1)
    busy = Connection()
    assert connections.add(busy)
    connections.set_busy(busy)
    for _ in range(3):
        assert not connections.add(Connection())
    connections.set_idle(busy)
    assert not busy.aborted


CROWD = 600
NO_TRITON = ("--triton-grpc", "127.0.0.1:1")


@pytest.mark.parametrize("sent", [b"", b"GET", LIVE % b"" + b"\r\n", b"POST / HTTP/1.1\r\nhost: localhost\r\n"])
def test_a_crowd_that_takes_all_files_does_not_silence_health_checks(sent: bytes) -> None:
    sent = sent.replace(b"host: x", b"host: localhost")
    with running(*NO_TRITON, open_files=(128, 400)) as gateway, ExitStack() as opened:
        limit = Path(f"/proc/{gateway.process.pid}/limits").read_text(encoding="utf-8")
        assert re.search(r"Max open files\s+400\s+400 ", limit)
        for _ in range(CROWD):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=120))
            client.sendall(sent)
        for _ in range(20):
            assert httpx.get(gateway.url + "/health/live").status_code == 200
