"""What comes on a connection while a response is in progress."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable

import pytest

from gateway.answers.backend import Delta, Generation
from gateway.http import slow_clients
from tests.gateway.http.raw_client import (
    JAVA,
    LIVE,
    LIVE_ANSWER,
    connect,
    received_to_the_end,
    received_until,
    responses,
    streamed,
    whole,
)
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from tests.gateway.server import serving


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
        async def generate(
            self, generation: Generation, ended: Callable[[], None] = lambda: None, /
        ) -> AsyncGenerator[Delta, None]:
            async for said in super().generate(generation, ended):
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
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_S", 0.1)
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
