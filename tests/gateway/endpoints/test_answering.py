"""Answers that no connection waits for are subject to what holds for all others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from gateway.admission.caller import ANYONE, Caller
from gateway.admission.errors import RateLimitExceeded
from gateway.admission.quota import Limits
from gateway.app import create_app
from gateway.dialects.openai.chat import ChatCompletions
from gateway.endpoints.answering import Asker, Sink, answer_whole, asked, stream
from gateway.settings import Settings
from gateway.state import Gateway
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, ModelNotFound, UnsupportedParameter

CALL = ChatCompletions().parse({"model": "demo", "messages": [{"role": "user", "content": "Hello"}]})
PATH = "/v1/chat/completions"


def within(backend: ScriptedBackend, work: Callable[[Gateway], Awaitable[None]]) -> None:
    async def run() -> None:
        app = create_app(Settings(shutdown_grace_s=0), backend)
        async with app.api.router.lifespan_context(app.api):
            await work(app.gateway)

    asyncio.run(run())


def asker(id: str = "one", caller: Caller = ANYONE) -> Asker:
    return Asker(PATH, caller, id)


def test_it_is_the_body_that_a_client_would_get_and_counts_as_one() -> None:
    async def work(gateway: Gateway) -> None:
        body = json.loads(await answer_whole(gateway, asker(), CALL))
        assert body["id"] == "chatcmpl-one"
        assert body["choices"][0]["message"]["content"] == "Hello world"
        counted, _ = await gateway.metrics.exposition("")
        labels = f'arm="",endpoint="{PATH}",finish_reason="stop",model="demo",status="2xx",version="1"'
        assert f"conch_requests_total{{{labels}}} 1.0" in counted.decode()

    within(ScriptedBackend(), work)


def test_what_fails_is_raised_with_the_clients_name_of_the_parameter() -> None:
    fields = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 9}
    call = ChatCompletions().parse(fields)

    async def work(gateway: Gateway) -> None:
        with pytest.raises(UnsupportedParameter) as caught:
            await answer_whole(gateway, asker(), call)
        assert caught.value.param == "max_completion_tokens"
        with pytest.raises(ModelNotFound):
            await answer_whole(gateway, asker(caller=Caller("bob", models=frozenset({"other"}))), call)

    within(ScriptedBackend([UnsupportedParameter("max_tokens: too many", "max_tokens")]), work)


def test_it_counts_in_the_quota_of_its_key_once() -> None:
    caller = Caller("alice", Limits(requests_per_minute=1))

    async def work(gateway: Gateway) -> None:
        await answer_whole(gateway, asker("one", caller), CALL)
        await answer_whole(gateway, asker("two", caller)._replace(is_counted=True), CALL)
        with pytest.raises(RateLimitExceeded):
            await answer_whole(gateway, asker("three", caller), CALL)

    within(ScriptedBackend(), work)


class Sent(Sink):
    """A sink that remembers."""

    def __init__(self) -> None:
        self.data = b""

    async def __aenter__(self) -> Sent:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, events: bytes) -> None:
        self.data += events

    async def end(self, events: bytes) -> None:
        self.data += events


def test_a_stream_that_fails_tells_once_what_it_used() -> None:
    fields = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "stream": True}
    call = ChatCompletions().parse({**fields, "stream_options": {"include_usage": True}})
    sent = Sent()

    async def work(gateway: Gateway) -> None:
        with asked(gateway, asker()) as request:
            await stream(request, call, lambda: sent)

    within(ScriptedBackend([delta("Hel"), EngineFailed("broken")]), work)
    assert sent.data.count(b'"usage":{') == 1
    assert b"broken" in sent.data.split(b"\n\n")[-2]


def test_to_cancel_its_task_stops_the_engine() -> None:
    backend = ScriptedBackend([delta("Hel"), HANG])

    async def work(gateway: Gateway) -> None:
        answering = asyncio.create_task(answer_whole(gateway, asker(), CALL))
        while not backend.generations:
            await asyncio.sleep(0.01)
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering
        assert backend.cancelled == ["one-0"]

    within(backend, work)


def test_it_ends_with_the_drain() -> None:
    backend = ScriptedBackend([delta("Hel"), HANG])

    async def work(gateway: Gateway) -> None:
        answering = asyncio.create_task(answer_whole(gateway, asker(), CALL))
        while not backend.generations:
            await asyncio.sleep(0.01)
        await gateway.in_flight.drain(0)
        with pytest.raises(EngineUnavailable):
            await answering

    within(backend, work)
