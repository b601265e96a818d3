"""Every way in which a request can end: it ends once, and no engine works on for nobody."""

from __future__ import annotations

import json
import socket
import struct
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.gateway.scripted_backend import HANG, ScriptedBackend, Step, delta
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import EngineFailed, EngineUnavailable

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": HELLO, **fields}


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def open_socket(gateway: Running, **fields: Any) -> socket.socket:
    return gateway.post_unread(CHAT, json.dumps(body(**fields)).encode())


def reset(client: socket.socket) -> None:
    """Close with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("close", [socket.socket.close, reset])
@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_leaves_mid_stream_stops_the_engine(close: Any, n: int) -> None:
    backend = ScriptedBackend([delta("Hel"), HANG])
    with serving(backend) as gateway:
        client = open_socket(gateway, stream=True, n=n)
        assert b"HTTP/1.1 200" in client.recv(65536)
        close(client)
        backend.wait_for_cancels(n)
    assert sorted(backend.cancelled) == sorted(generation.request_id for generation in backend.generations)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_the_first_token_stops_the_engine(stream: bool) -> None:
    backend = ScriptedBackend([HANG])
    with serving(backend) as gateway:
        with open_socket(gateway, stream=stream):
            while not backend.generations:
                httpx.get(f"{gateway.url}/health/live")
        backend.wait_for_cancels(1)
    assert len(backend.cancelled) == 1


def test_a_client_that_reads_nothing_and_leaves_stops_the_engine() -> None:
    backend = ScriptedBackend([*[delta("x" * 65536)] * 200, HANG])
    with serving(backend) as gateway:
        with open_socket(gateway, stream=True):
            while not backend.generations:
                httpx.get(f"{gateway.url}/health/live")
        backend.wait_for_cancels(1)


SCRIPTS: list[tuple[list[Step], list[str]]] = [
    ([delta("a"), delta("b", "stop")], ["role", "text", "text", "stop", "[DONE]"]),
    ([delta("", "length")], ["role", "length", "[DONE]"]),
    ([delta("a"), EngineFailed("no")], ["role", "text", "error"]),
    ([delta("a"), EngineUnavailable("no")], ["role", "text", "error"]),
    ([delta("a"), ValueError("a bug")], ["role", "text", "error"]),
    ([delta("a"), delta("", "error")], ["role", "text", "error"]),
    ([delta("a"), delta("", "cancelled")], ["role", "text", "error"]),
]


def kind(event: Any) -> str:
    if event == "[DONE]" or "error" in event:
        return "[DONE]" if event == "[DONE]" else "error"
    choice = event["choices"][0]
    if choice["finish_reason"]:
        return str(choice["finish_reason"])
    return "role" if "role" in choice["delta"] else "text"


@pytest.mark.parametrize(("script", "expected"), SCRIPTS)
def test_a_stream_ends_exactly_once(script: list[Step], expected: list[str]) -> None:
    with serving(ScriptedBackend(script)) as gateway:
        response = httpx.post(gateway.url + CHAT, json=body(stream=True))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [kind(event) for event in events(response.text)] == expected


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (EngineFailed("the engine failed"), 500, "engine_failed"),
        (EngineUnavailable("full"), 503, "engine_unavailable"),
        (ValueError("a secret path"), 500, "engine_failed"),
        (delta("half", "error"), 500, "engine_failed"),
        (delta("half", "cancelled"), 503, "engine_unavailable"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_before_the_first_token_has_its_own_status(step: Step, status: int, code: str, stream: bool) -> None:
    with serving(ScriptedBackend([step])) as gateway:
        response = httpx.post(gateway.url + CHAT, json=body(stream=stream))
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert ("retry-after" in response.headers) == (status == 503)
    assert "secret" not in response.text
    assert response.headers["x-request-id"]


def test_when_one_of_several_choices_fails_the_others_are_stopped() -> None:
    backend = ScriptedBackend([delta("a"), EngineUnavailable("gone")])
    with serving(backend) as gateway:
        response = httpx.post(gateway.url + CHAT, json=body(stream=True, n=3))
        backend.wait_for_cancels(3)
    assert [kind(event) for event in events(response.text)].count("error") == 1
    assert kind(events(response.text)[-1]) == "error"


def test_an_answer_that_ended_by_itself_is_not_cancelled() -> None:
    backend = ScriptedBackend()
    with serving(backend) as gateway:
        assert httpx.post(gateway.url + CHAT, json=body(stream=True, n=3)).status_code == 200
        assert httpx.post(gateway.url + CHAT, json=body()).status_code == 200
    assert backend.cancelled == []


def test_more_requests_than_allowed_are_told_to_come_back() -> None:
    backend = ScriptedBackend([HANG])
    with serving(backend, max_concurrent_requests=1) as gateway:
        with open_socket(gateway):
            while not backend.generations:
                httpx.get(f"{gateway.url}/health/live")
            response = httpx.post(gateway.url + CHAT, json=body())
            assert (response.status_code, response.json()["error"]["code"]) == (503, "server_is_overloaded")
            assert 1 <= int(response.headers["retry-after"]) <= 30
        backend.wait_for_cancels(1)
        backend.script = [delta("ok", "stop")]
        assert httpx.post(gateway.url + CHAT, json=body()).status_code == 200


def test_a_quiet_stream_sends_heartbeats() -> None:
    with serving(ScriptedBackend([delta("a"), 0.5, delta("b", "stop")]), sse_ping_interval_s=0.1) as gateway:
        response = httpx.post(gateway.url + CHAT, json=body(stream=True))
    assert ": ping\n\n" in response.text
    assert [kind(event) for event in events(response.text.replace(": ping\n\n", ""))][-2:] == ["stop", "[DONE]"]


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    with (
        serving(ScriptedBackend(), body_timeout_s=0.2) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=120) as client,
    ):
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n"
        client.sendall(head % CHAT.encode() + b"{")
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def head_of(length: int) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
        CHAT.encode(),
        length,
    )


def test_a_body_that_comes_in_drops_is_given_up_as_soon() -> None:
    with (
        serving(ScriptedBackend(), body_timeout_s=0.5) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=120) as client,
    ):
        client.sendall(head_of(1_000_000))
        client.settimeout(0.02)
        answer = b""
        for _ in range(5000):  # 100 s of drops
            client.send(b" ")
            with suppress(TimeoutError):
                answer = client.recv(65536)
                break
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_large_body_may_take_longer_than_a_small_one() -> None:
    content = json.dumps(body(user="x")).encode() + b" " * 1_000_000
    with (
        serving(ScriptedBackend(), body_timeout_s=0.5) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=120) as client,
    ):
        client.sendall(head_of(len(content)))
        for start in range(0, len(content), 100_000):
            client.sendall(content[start : start + 100_000])
            time.sleep(0.1)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def stream_through_shutdown(backend: ScriptedBackend, grace_s: float) -> list[Any]:
    """The events of a stream whose server begins to shut down after its first bytes."""
    with (
        serving(backend, shutdown_grace_s=grace_s) as gateway,
        httpx.stream("POST", gateway.url + CHAT, json=body(stream=True)) as response,
    ):
        text = response.iter_text()
        first = next(text)
        gateway.begin_shutdown()
        return events(first + "".join(text))


def test_open_streams_finish_during_a_shutdown() -> None:
    backend = ScriptedBackend([delta("a"), 0.7, delta("b", "stop")])
    assert [kind(event) for event in stream_through_shutdown(backend, grace_s=30)][-1] == "[DONE]"
    assert backend.cancelled == []


@pytest.mark.parametrize("deaf", [False, True])
def test_streams_that_outlast_the_grace_end_with_an_error(deaf: bool) -> None:
    backend = ScriptedBackend([delta("a"), HANG], deaf=deaf)
    with serving(backend) as gateway, httpx.stream("POST", gateway.url + CHAT, json=body(stream=True)) as response:
        text = response.iter_text()
        first = next(text)
        gateway.begin_shutdown()
        rest = "".join(text)
    assert [kind(event) for event in events(first + rest)] == ["role", "text", "error"]
    assert len(backend.cancelled) == 1


def test_while_draining_it_is_live_but_not_ready_and_takes_nothing_new() -> None:
    backend = ScriptedBackend([delta("a"), HANG])
    with serving(backend, shutdown_grace_s=30) as gateway, open_socket(gateway, stream=True) as client:
        assert b"HTTP/1.1 200" in client.recv(65536)
        gateway.begin_shutdown()
        while (ready := httpx.get(f"{gateway.url}/health/ready")).status_code == 200:
            pass
        assert (ready.status_code, ready.json()["reason"]) == (503, "shutting down")
        assert httpx.get(f"{gateway.url}/health/live").status_code == 200
        refused = httpx.post(gateway.url + CHAT, json=body())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        client.close()


def test_a_second_interrupt_ends_the_grace_and_engine_and_client_are_still_told() -> None:
    backend = ScriptedBackend([delta("a"), HANG])
    with (
        serving(backend, shutdown_grace_s=3600) as gateway,
        httpx.stream("POST", gateway.url + CHAT, json=body(stream=True)) as response,
    ):
        text = response.iter_text()
        first = next(text)
        gateway.interrupt()
        while httpx.get(f"{gateway.url}/health/ready").status_code == 200:
            pass
        gateway.interrupt()
        rest = "".join(text)
    assert [kind(event) for event in events(first + rest)] == ["role", "text", "error"]
    assert len(backend.cancelled) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_longer_than_a_request_may_ends_even_if_its_engine_hangs(stream: bool) -> None:
    backend = ScriptedBackend([delta("a"), HANG], deaf=True)
    with serving(backend, request_timeout_s=0.5) as gateway:
        response = httpx.post(gateway.url + CHAT, json=body(stream=stream))
    error = events(response.text)[-1]["error"] if stream else response.json()["error"]
    assert response.status_code == (200 if stream else 504)
    assert (error["message"], error["code"]) == ("the answer was not complete within 0.5 s", "request_timeout")
    assert len(backend.cancelled) == 1
