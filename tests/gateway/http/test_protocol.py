"""The head of a request: how large, how slow, and with which offers it may come."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.http import protocol
from tests.gateway.bodies import CHAT, chat
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving

JAVA = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
HEAD = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%b" % (CHAT.encode(), JAVA)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with serving(ScriptedBackend()) as running:
        yield running


@pytest.fixture
def client(gateway: Running) -> Iterator[socket.socket]:
    with connect(gateway) as client:
        yield client


def connect(gateway: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=120)


def answer(client: socket.socket, end: bytes) -> bytes:
    """What comes until `end`."""
    came = b""
    while not came.endswith(end):
        more = client.recv(65536)
        assert more, came
        came += more
    return came


def whole() -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n%b" % (len(chat()), chat())


@pytest.mark.parametrize("split", [None, 60, 200, len(whole()) - len(chat()), -5])
def test_a_client_that_offers_an_upgrade_is_answered_without_it(client: socket.socket, split: int | None) -> None:
    for part in [whole()] if split is None else [whole()[:split], whole()[split:]]:
        client.sendall(part)
    came = answer(client, b'"}')
    assert came.startswith(b"HTTP/1.1 200 ")
    assert b"Hello world" in came


def test_its_body_may_be_chunked_and_its_connection_goes_on(client: socket.socket) -> None:
    half = len(chat()) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (chat()[:half], chat()[half:], b""))
    client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks)
    assert b"Hello world" in answer(client, b'"}')
    client.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("version", [b"1.1\r\nhost: x", b"1.0"])
def test_a_websocket_is_none(client: socket.socket, version: bytes) -> None:
    client.sendall(b"GET /v1/models HTTP/%b\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" % version)
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("piece", [b"x" * 1024, b"x: y\r\n" * 170])
def test_a_head_without_end_is_refused(client: socket.socket, piece: bytes) -> None:
    assert refused(
        client, [b"GET /health/live HTTP/1.1\r\nx: ", *[piece] * (4 * protocol.MAX_HEAD_BYTES // len(piece))]
    )


def refused(client: socket.socket, pieces: list[bytes]) -> bool:
    try:
        for piece in pieces:
            client.sendall(piece)
        return client.recv(65536).startswith(b"HTTP/1.1 431 ")
    except ConnectionError:  # what is still under way when a connection is closed resets it
        return True


def test_a_large_head_is_none_without_end(client: socket.socket) -> None:
    client.sendall(b"GET /health/live HTTP/1.1\r\nx: " + b"x" * 60_000)
    client.sendall(b"\r\nhost: x\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("said", [b"", b"GET /health/live HTTP/1.1\r\nhost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    with serving(ScriptedBackend()) as gateway, connect(gateway) as client:
        client.sendall(said)
        assert client.recv(1) == b""


@pytest.mark.parametrize("offer", [b"", JAVA])
def test_the_second_head_of_a_connection_has_no_more_time(offer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with serving(ScriptedBackend()) as gateway, connect(gateway) as client:
        client.sendall(request[:-2] + offer + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(request[:-2])
        assert client.recv(1) == b""


@pytest.mark.parametrize("offer", [b"", JAVA])
def test_a_client_that_does_not_read_is_left(offer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SEND_TIMEOUT_S", 0.2)
    backend = ScriptedBackend([*[delta("x" * 65536)] * 200, HANG])
    body = chat(stream=True)
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    with serving(backend) as gateway, connect(gateway) as client:
        client.sendall(head % (CHAT.encode(), offer, len(body)) + body)
        backend.wait_for_cancels(1)
        while client.recv(65536):  # what was under way, and then the end
            pass
