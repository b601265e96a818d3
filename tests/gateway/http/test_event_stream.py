"""A stream of events apart from what it says: its first and last message, and the pings in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from starlette.types import Message

from gateway.http.event_stream import PING, EventStream, Heartbeat

NEVER = Heartbeat(0)
END = {"type": "http.response.body", "body": b"b", "more_body": False}


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def said_by(talk: Callable[[EventStream], Awaitable[None]], heartbeat: Heartbeat = NEVER) -> list[Message]:
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def run() -> None:
        async with EventStream(send, {"x-ignored-parameters": "a"}, heartbeat) as stream:
            await talk(stream)
        await turns()

    asyncio.run(run())
    return said


def test_it_begins_with_its_headers_and_ends_together_with_its_last_events() -> None:
    async def talk(stream: EventStream) -> None:
        await stream.send(b"a")
        await stream.end(b"b")

    start, first, last = said_by(talk)
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert {(b"cache-control", b"no-store"), (b"x-ignored-parameters", b"a")} <= set(start["headers"])
    assert (first["body"], first["more_body"]) == (b"a", True)
    assert last == END


def test_a_long_wait_for_the_first_words_begins_the_response_once_it_may() -> None:
    heartbeat, said, may = Heartbeat(0), [], [False]

    async def send(message: Message) -> None:
        said.append(message["type"].removeprefix("http.response."))

    async def run() -> None:
        stream = EventStream(send, {}, heartbeat)
        with stream.expected(lambda: may[0]):
            for may[0] in (False, False, True, True):
                stream.beat()
                await turns()
        assert said == ["start", "body", "body"]
        async with stream:
            await stream.end(b"b")
        never = EventStream(send, {}, heartbeat)
        with suppress(KeyError), never.expected(lambda: True):
            never.beat()
            raise KeyError
        assert not never.has_begun

    asyncio.run(run())
    assert said == ["start", "body", "body", "body"]
    assert heartbeat._streams == set()


def test_a_stream_whose_client_leaves_before_its_status_is_out_is_beaten_for_no_longer() -> None:
    heartbeat = Heartbeat(0)

    async def send(_: Message) -> None:
        await asyncio.Event().wait()  # the client reads nothing

    async def run() -> None:
        stream = EventStream(send, {}, heartbeat)
        with stream.expected(lambda: True):
            stream.beat()
            stream.beat()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), stream:
                pass

    asyncio.run(run())
    assert heartbeat._streams == set()


def test_nothing_to_say_is_no_message() -> None:
    async def talk(stream: EventStream) -> None:
        await stream.send(b"")
        await stream.end(b"b")

    assert said_by(talk)[1:] == [END]


def test_every_beat_without_a_word_since_the_last_one_is_a_ping() -> None:
    async def talk(stream: EventStream) -> None:
        for words in (b"a", b"", b"", b"b", b""):
            await stream.send(words)
            stream.beat()
            await turns()

    assert [message["body"] for message in said_by(talk)[1:]] == [b"a", PING, PING, b"b", PING]


def test_a_ping_that_is_due_when_a_stream_ends_is_not_sent_after_the_end() -> None:
    async def talk(stream: EventStream) -> None:
        stream.beat()
        stream.beat()
        await stream.end(b"b")

    assert said_by(talk)[1:] == [END]


def test_a_client_that_reads_no_ping_is_sent_no_other() -> None:
    pings = []

    async def send(message: Message) -> Any:
        if message.get("body") == PING:
            pings.append(message)
            await asyncio.Event().wait()

    async def run() -> None:
        async with EventStream(send, {}, NEVER) as stream:
            for _ in range(4):
                stream.beat()
                await turns()

    asyncio.run(run())
    assert len(pings) == 1


def test_one_heartbeat_pings_all_open_streams_and_no_other() -> None:
    async def run() -> None:
        said: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        all_pinged = asyncio.Event()

        def stream(number: int) -> EventStream:
            async def send(message: Message) -> None:
                said[number].append(message.get("body", b""))
                if PING in said[0] and PING in said[1]:
                    all_pinged.set()

            return EventStream(send, {}, heartbeat)

        heartbeat = Heartbeat(0.01)
        beating = asyncio.create_task(heartbeat.run())
        async with stream(2):
            pass
        async with stream(0), stream(1):
            await all_pinged.wait()
        beating.cancel()
        assert PING not in said[2]

    asyncio.run(run())
