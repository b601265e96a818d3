"""Connections: size and time of a head, upgrades, HTTP/1.0, and what comes while a response is in progress."""

from __future__ import annotations

import inspect
import re
import socket
from collections.abc import AsyncGenerator, Iterator

import pytest
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.answers.backend import Delta, Generation
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


def received_until(client: socket.socket, text: bytes, times: int = 1) -> bytes:
    """What comes until it contains `text` that often."""
    came = b""
    while came.count(text) < times:
        more = client.recv(65536)
        assert more, came
        came += more
    return came


def received_to_the_end(client: socket.socket) -> bytes:
    came = b""
    while more := client.recv(65536):
        came += more
    return came


def streamed(headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A request for a stream."""
    body = chat(stream=True)
    head = b"POST %b HTTP/%b\r\nhost: x\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (CHAT.encode(), version, headers, len(body)) + body


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
def test_a_client_that_does_not_read_is_disconnected(offer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SEND_TIMEOUT_S", 0.2)
    backend = ScriptedBackend([*[delta("x" * 65536)] * 200, HANG])
    with serving(backend) as gateway, connect(gateway) as client:
        client.sendall(streamed(offer))
        backend.wait_for_cancels(1)
        while client.recv(65536):  # what was under way, and then the end
            pass


LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n%b\r\n"
LIVE_ANSWER = b'{"status":"live"}'


def responses(came: bytes) -> list[bytes]:
    """Bodies of the responses on a connection, by their framing alone."""
    bodies = []
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        body = b""
        if b"transfer-encoding: chunked" in head:
            while size := int(came.partition(b"\r\n")[0], 16):
                came = came.partition(b"\r\n")[2]
                body, came = body + came[:size], came[size + 2 :]
            came = came.removeprefix(b"0\r\n\r\n")
        else:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body, came = came[:length], came[length:]
        bodies.append(body)
    return bodies


@pytest.mark.parametrize("offer", [b"", JAVA])
@pytest.mark.parametrize("split", [False, True])
def test_requests_behind_a_stream_are_answered_after_it(offer: bytes, split: bool) -> None:
    pipelined = streamed() + LIVE % offer + whole() + LIVE % b"" + LIVE % offer
    backend = ScriptedBackend([delta("a"), 0.2, delta("b"), 0.2, delta("c", "stop", 3)])
    with serving(backend) as gateway, connect(gateway) as client:
        for part in [pipelined[at : at + 100] for at in range(0, len(pipelined), 100)] if split else [pipelined]:
            client.sendall(part)
        came = received_until(client, LIVE_ANSWER, times=3)
    stream, *others = responses(came)
    assert stream.endswith(b"data: [DONE]\n\n")
    assert others[0] == others[2] == others[3] == LIVE_ANSWER
    assert b'"content":"abc"' in others[1]


@pytest.mark.parametrize("behind", [b"", LIVE % b"", LIVE % JAVA, whole(), LIVE[:20], (LIVE % b"") * 200])
def test_a_client_that_leaves_is_noticed_whatever_waits_behind_its_stream(behind: bytes) -> None:
    backend = ScriptedBackend([delta("Hello"), HANG])
    with serving(backend) as gateway:
        with connect(gateway) as client:
            client.sendall(streamed() + behind)
            received_until(client, b"Hello")
            client.sendall(behind)
        backend.wait_for_cancels(1)


@pytest.mark.parametrize("behind", [LIVE % b"", LIVE % JAVA])
def test_a_stream_that_is_not_read_waits_whatever_comes_behind_it(behind: bytes) -> None:
    num_said = []

    class Counting(ScriptedBackend):
        async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
            async for said in super().generate(generation):
                num_said.append(1)
                yield said

    backend = Counting([*[delta("x" * 65536)] * 400, delta("", "stop")])
    with serving(backend) as gateway, connect(gateway) as client, connect(gateway) as other:
        client.sendall(streamed() + behind)
        before = -1
        while not num_said or len(num_said) != before:  # until no more is written
            before = len(num_said)
            for _ in range(20):
                other.sendall(LIVE % b"")
                received_until(other, LIVE_ANSWER)
        assert before < 400


@pytest.mark.parametrize("garbage", [b"\x00", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"x" * 200_000])
def test_garbage_behind_a_stream_ends_the_connection_after_it(garbage: bytes) -> None:
    backend = ScriptedBackend([delta("a"), 0.2, delta("b", "stop", 2)])
    with serving(backend) as gateway, connect(gateway) as client:
        client.sendall(streamed() + garbage)
        came = received_to_the_end(client)
    (stream,) = responses(came)
    assert stream.endswith(b"data: [DONE]\n\n")


def test_a_head_that_does_not_come_leaves_the_response_before_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    backend = ScriptedBackend([delta("a"), 0.5, delta("b", "stop", 2)])
    with serving(backend) as gateway, connect(gateway) as client:
        client.sendall(streamed() + LIVE[:20])
        came = received_to_the_end(client)
    (stream,) = responses(came)
    assert stream.endswith(b"data: [DONE]\n\n")


def test_many_requests_in_one_write_are_answered_in_order(client: socket.socket) -> None:
    client.sendall((LIVE % b"") * 3000 + whole())
    came = received_until(client, b"Hello world")
    assert came.count(LIVE_ANSWER) == 3000


@pytest.mark.parametrize("body", [b"zz\r\n", b"-1\r\n"])
def test_a_body_that_is_no_body_is_rejected(client: socket.socket, body: bytes) -> None:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    client.sendall(head % CHAT.encode() + body)
    assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


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


@pytest.mark.parametrize("rest", [b"\r\n", b"{"])
def test_a_connection_whose_request_is_answered_is_not_held_by_stray_bytes(
    rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    with serving(ScriptedBackend()) as running, connect(running) as client:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\n" % CHAT.encode()
        client.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n" if rest == b"\r\n" else head)
        received_until(client, b"}")
        client.sendall(rest)
        assert received_to_the_end(client) == b""
