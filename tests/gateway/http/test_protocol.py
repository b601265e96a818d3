"""Connections: size and time of a head, upgrades, HTTP/1.0, and what comes while a response is in progress."""

from __future__ import annotations

import inspect
import re
import socket

import pytest
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.http import protocol, slow_clients
from tests.gateway.bodies import CHAT, chat
from tests.gateway.http.raw_client import (
    HEAD,
    JAVA,
    LIVE_ANSWER,
    answer,
    connect,
    received_to_the_end,
    received_until,
    streamed,
    whole,
)
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving


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
def test_a_websocket_is_answered_as_plain_http(client: socket.socket, version: bytes) -> None:
    client.sendall(b"GET /v1/models HTTP/%b\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" % version)
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("piece", [b"x" * 1024, b"x: y\r\n" * 170])
def test_a_head_without_end_is_rejected(client: socket.socket, piece: bytes) -> None:
    assert rejected(
        client, [b"GET /health/live HTTP/1.1\r\nx: ", *[piece] * (4 * protocol.MAX_HEAD_BYTES // len(piece))]
    )


def rejected(client: socket.socket, pieces: list[bytes]) -> bool:
    try:
        for piece in pieces:
            client.sendall(piece)
        return client.recv(65536).startswith(b"HTTP/1.1 431 ")
    except ConnectionError:  # what is still under way when a connection is closed resets it
        return True


def test_a_large_head_that_ends_is_answered(client: socket.socket) -> None:
    client.sendall(b"GET /health/live HTTP/1.1\r\nx: " + b"x" * 60_000)
    client.sendall(b"\r\nhost: x\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("said", [b"", b"GET /health/live HTTP/1.1\r\nhost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_S", 0.2)
    with serving(ScriptedBackend()) as gateway, connect(gateway) as client:
        client.sendall(said)
        assert client.recv(1) == b""


@pytest.mark.parametrize("offer", [b"", JAVA])
def test_the_second_head_of_a_connection_has_no_more_time(offer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_S", 0.2)
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with serving(ScriptedBackend()) as gateway, connect(gateway) as client:
        client.sendall(request[:-2] + offer + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(request[:-2])
        assert client.recv(1) == b""


@pytest.mark.parametrize("offer", [b"", JAVA])
def test_a_client_that_does_not_read_is_disconnected(offer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "SEND_TIMEOUT_S", 0.2)
    backend = ScriptedBackend([*[delta("x" * 65536)] * 200, HANG])
    with serving(backend) as gateway, connect(gateway) as client:
        client.sendall(streamed(offer))
        backend.wait_for_cancels(1)
        while client.recv(65536):  # what was under way, and then the end
            pass


@pytest.mark.parametrize("body", [b"zz\r\n", b"-1\r\n"])
def test_a_body_that_is_no_body_is_rejected(client: socket.socket, body: bytes) -> None:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    client.sendall(head % CHAT.encode() + body)
    assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("offer", [b"", JAVA])
def test_a_target_that_begins_with_slashes_names_no_host(client: socket.socket, offer: bytes) -> None:
    client.sendall(b"GET //health/live HTTP/1.1\r\nhost: x\r\n%b\r\n" % offer)
    assert answer(client, LIVE_ANSWER).startswith(b"HTTP/1.1 200")


def test_a_tunnel_is_rejected(client: socket.socket) -> None:
    client.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/health/live", CHAT])
def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(client: socket.socket, path: str) -> None:
    client.sendall(streamed(version=b"1.0") if path == CHAT else b"GET /health/live HTTP/1.0\r\n\r\n")
    head, _, body = received_to_the_end(client).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == LIVE_ANSWER if path != CHAT else body.startswith(b"data: ") and body.endswith(b"data: [DONE]\n\n")


def test_a_client_that_closes_its_sending_side_counts_as_disconnected() -> None:
    backend = ScriptedBackend([delta("Hello"), HANG])
    with serving(backend) as gateway, connect(gateway) as client:
        client.sendall(streamed())
        client.shutdown(socket.SHUT_WR)
        backend.wait_for_cancels(1)


def test_uvicorn_still_has_what_the_protocol_builds_on() -> None:
    methods = {"_start_asgi_task", "_should_upgrade", "_unset_keepalive_if_required", "on_response_complete"}
    assert methods <= vars(HttpToolsProtocol).keys()
    source = inspect.getsource(httptools_impl)
    for use in (
        "if self.parser.should_upgrade() and self._should_upgrade():\n            return",
        "self.pipeline.appendleft((self.cycle, app))",
        "self.pipeline.pop()",
        "self.expected_content_length -= num_bytes",
    ):
        assert use in source
    fields = {"disconnected", "message_event", "keep_alive", "more_body", "response_started", "response_complete"}
    fields |= {"chunked_encoding", "expected_content_length", "scope"}
    assert fields <= set(re.findall(r"self\.(\w+)\b.* = ", inspect.getsource(httptools_impl.RequestResponseCycle)))


CHUNKED = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("endless", [b"0\r\nx: %b\r\n", b"0\r\nx: %b", b"1;x=%b", b"0\r\n%b: y\r\n"])
@pytest.mark.parametrize("content_type", [b"application/json", b"text/plain"])
def test_trailers_and_extensions_of_chunks_are_bounded(gateway: Running, endless: bytes, content_type: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(CHUNKED % (CHAT.encode(), content_type) + (endless % b"y"))
        try:
            for _ in range(1000):
                client.sendall(b"y" * 65536 if b"\r\n" not in endless[3:] else b"x: y\r\n" * 10_000)
            pytest.fail("64 MB were taken")
        except ConnectionError:
            pass


def test_trailers_are_no_headers(client: socket.socket) -> None:
    body = chat(stream=False)
    chunks = b"%x\r\n%b\r\n0\r\nx-request-id: forged\r\n\r\n" % (len(body), body)
    client.sendall(CHUNKED % (CHAT.encode(), b"application/json") + chunks)
    assert b"200 OK" in received_until(client, b"chat.completion")
    client.sendall(whole())
    assert b"200 OK" in received_until(client, b"chat.completion")


def test_a_key_in_a_trailer_is_none() -> None:
    body = chat(stream=False)
    chunks = b"%x\r\n%b\r\n0\r\nauthorization: Bearer sk-secret\r\n\r\n" % (len(body), body)
    with serving(ScriptedBackend(), api_key="sk-secret") as running, connect(running) as client:
        client.sendall(CHUNKED % (CHAT.encode(), b"application/json") + chunks)
        assert received_until(client, b"}}").startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("rest", [b"\r\n", b"{"])
def test_a_connection_whose_request_is_answered_is_not_held_by_stray_bytes(
    rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_S", 0.2)
    with serving(ScriptedBackend()) as running, connect(running) as client:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\n" % CHAT.encode()
        client.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n" if rest == b"\r\n" else head)
        received_until(client, b"}")
        client.sendall(rest)
        assert received_to_the_end(client) == b""
