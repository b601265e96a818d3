from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace

import pytest

from bench.load.connection import Client, Target
from tests.bench.load.events import HELLO, STOP, WHOLE
from tests.bench.load.wire_server import HEAD, chunk, chunked, wire_server
from triton_repo.contract.errors import BenchError

PATH = "/v1/chat/completions"


@pytest.mark.asyncio
async def test_an_answer_in_single_bytes_is_read_whole() -> None:
    body = chunked(WHOLE)
    async with wire_server([body[i : i + 1] for i in range(len(body))]) as (_, target):
        with closing(Client(target, timeout_s=240)) as client:
            record = await client.ask(PATH, b"{}")
    assert record.error is None
    assert record.completion_tokens == 3


@pytest.mark.asyncio
async def test_requests_one_after_the_other_share_a_connection_and_carry_the_key() -> None:
    async with wire_server([chunked(WHOLE)], [chunked(WHOLE)]) as (wire, target):
        with closing(Client(target, timeout_s=240)) as client:
            records = [await client.ask(PATH, b'{"n":%d}' % number) for number in range(2)]
    assert [record.error for record in records] == [None, None]
    assert all(record.start_s <= (record.sent_s or 0) < record.end_s for record in records)
    assert wire.connections == 1
    assert [request.endswith(b'{"n":%d}' % number) for number, request in enumerate(wire.requests)] == [True, True]
    assert all(request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n") for request in wire.requests)
    assert all(b"\r\nAuthorization: Bearer sk-canary\r\n" in request for request in wire.requests)


@pytest.mark.asyncio
async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    last_answer = chunked(WHOLE).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    async with wire_server([last_answer, None], [chunked(WHOLE)]) as (wire, target):
        with closing(Client(target, timeout_s=240)) as client:
            records = [await client.ask(PATH, b"{}") for _ in range(2)]
    assert [record.error for record in records] == [None, None]
    assert wire.connections == 2


@pytest.mark.asyncio
async def test_an_early_close_is_a_failed_request_and_the_next_one_goes_on() -> None:
    async with wire_server([HEAD + chunk(HELLO), None], [chunked(WHOLE)]) as (_, target):
        with closing(Client(target, timeout_s=240)) as client:
            broken, whole = [await client.ask(PATH, b"{}") for _ in range(2)]
    assert broken.error == "connection: the server closed the connection in the middle of an answer"
    assert broken.first_s is not None
    assert whole.error is None


@pytest.mark.asyncio
async def test_a_refusal_leaves_the_connection_usable() -> None:
    refused = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\n\r\n" + b'{"error":{"message":"bad"}}'
    async with wire_server([refused], [chunked(WHOLE)]) as (wire, target):
        with closing(Client(target, timeout_s=240)) as client:
            errors = [(await client.ask(PATH, b"{}")).error for _ in range(2)]
    assert errors == ["HTTP 400: bad", None]
    assert wire.connections == 1


@pytest.mark.asyncio
async def test_a_server_that_closes_after_each_stream_gets_a_connection_for_each() -> None:
    async with wire_server([chunked(WHOLE), None], [chunked(WHOLE), None]) as (wire, target):
        with closing(Client(replace(target, keeps_alive=False), timeout_s=240)) as client:
            errors = [(await client.ask(PATH, b"{}")).error for _ in range(2)]
    assert errors == [None, None]
    assert wire.connections == 2
    assert all(b"Connection: close" in request for request in wire.requests)


@pytest.mark.asyncio
async def test_what_is_not_http_is_a_failed_request() -> None:
    async with wire_server([b"SSH-2.0-OpenSSH\r\n\r\n", None]) as (_, target):
        with closing(Client(target, timeout_s=240)) as client:
            record = await client.ask(PATH, b"{}")
    assert str(record.error).startswith("connection: not HTTP/1.1")


@pytest.mark.asyncio
async def test_an_answer_that_never_ends_fails_at_the_time_out() -> None:
    async with wire_server([HEAD + chunk(HELLO) + chunk(STOP)]) as (_, target):
        with closing(Client(target, timeout_s=2)) as client:
            record = await client.ask(PATH, b"{}")
    assert record.error == "no end within 2 s"
    assert record.first_s is not None


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_a_failed_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with closing(Client(Target.parse(f"http://127.0.0.1:{port}"), timeout_s=240)) as client:
        record = await client.ask(PATH, b"{}")
    assert str(record.error).startswith("connection: ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:9000", "http://host:9000"),
        ("http://host:9000/v1/", "http://host:9000"),
        ("host:9000", "http://host:9000"),
        ("https://host/api/v1", "https://host:443/api"),
    ],
)
def test_a_base_url_may_have_a_path_and_may_leave_out_the_version(url: str, shown: str) -> None:
    assert Target.parse(url).url == shown


@pytest.mark.parametrize("url", ["ftp://host", "http://", ""])
def test_a_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(BenchError, match="URL = "):
        Target.parse(url)
