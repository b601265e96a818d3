"""Answers that are made while no client waits, and streams that follow them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, cast

from gateway.admission.errors import RateLimitExceeded, ServerOverloaded
from gateway.dialects.dialect import Call, Session
from gateway.dialects.openai.chunks import DONE
from gateway.dialects.responses.encoder import event_bytes, response_id
from gateway.dialects.responses.events import LifecycleType
from gateway.dialects.responses.resource import Response
from gateway.endpoints.answering import Asked, Asker, Sink, asked, stream, whole
from gateway.metrics.recorder import served_by
from gateway.state import Gateway
from gateway.store.response_rows import OPEN, Json
from gateway.store.responses import ResponseStore
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, RequestError

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 2.0  # for the last events of a response whose status is final
_END: Final = b"\n\n"  # of an event
_LAST_TYPES: Final[Mapping[str, LifecycleType]] = {"completed": "response.completed", "failed": "response.failed"}
_LAST: Final = (b"event: response.completed", b"event: response.incomplete", b"event: response.failed")


class StoredEvents(Sink):
    """The sink of a stream that is kept event by event, with their sequence numbers, from 0, as their keys."""

    def __init__(self, responses: ResponseStore, id: str) -> None:
        self._responses = responses
        self._id = id
        self._number = 0

    async def __aenter__(self) -> StoredEvents:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def send(self, events: bytes) -> None:
        each = [event + _END for event in events.removesuffix(DONE).split(_END)[:-1]]
        await self._responses.append_events(self._id, self._number, each)
        self._number += len(each)

    async def end(self, events: bytes) -> None:
        await self.send(events)


async def begin(asked: Asked, call: Call, session: Session, open_sink: Callable[[], Sink]) -> bytes | None:
    """Start the work on an answer; the body that says so, or None where its stream was sent.

    Raises:
        RequestError: it was not begun.
    """
    gateway, owner = asked.gateway, asked.caller.name
    await _check(asked, call)
    body = await asyncio.shield(asyncio.create_task(_start(asked, call, session)))  # all of it, or nothing
    asked.record.is_handed_over = True
    if not call.request.stream:
        return body
    await follow(gateway, owner, response_id(asked.id), -1, open_sink)
    return None


async def _check(asked: Asked, call: Call) -> None:
    """What can be known to be wrong is told at once."""
    gateway = asked.gateway
    card = await gateway.backend.card(call.request.model)
    asked.record.served = served_by(call.request.model, call.resolution)
    call.request.generations(asked.id, card, gateway.settings.max_body_bytes)
    if gateway.in_flight.draining:
        raise EngineUnavailable("the server is shutting down")
    most = gateway.settings.max_concurrent_requests
    if len(gateway.work) >= most:
        raise ServerOverloaded(f"the server is busy with {most} requests in the background")


async def _start(asked: Asked, call: Call, session: Session) -> bytes:
    gateway = asked.gateway
    share = gateway.work.share()
    share.set(sum(prompt.num_bytes for prompt in call.request.prompts))
    try:
        body = await session.begin(asked.id)
    except BaseException:
        share.set(0)
        raise
    asker = Asker(asked.record.endpoint, asked.caller, asked.id, is_counted=True)
    gateway.work.start(response_id(asked.id), _work(gateway, asker, call, session), share)
    return body


async def _work(gateway: Gateway, asker: Asker, call: Call, session: Session) -> None:
    """Make the answer, and keep it whatever comes of it."""
    sink = StoredEvents(gateway.responses, response_id(asker.id))
    error = await _failure(_answer(gateway, asker, call, sink))
    if error is not None:
        events = await session.fail(asker.id, error)
        if call.request.stream:
            await sink.send(events)


async def _failure(answering: Awaitable[None]) -> RequestError | None:
    """What an answer failed with."""
    try:
        await answering
    except RequestError as error:
        return error
    except asyncio.CancelledError:  # in the store it is cancelled or deleted, or this process ends
        return EngineUnavailable("the server was shut down")
    except Exception:  # a process boundary: nothing else would tell the client
        logger.exception("a response in the background failed")
        return EngineFailed("internal error")
    return None


async def _answer(gateway: Gateway, asker: Asker, call: Call, sink: StoredEvents) -> None:
    """It waits until there is room for it, for as long as a request may take: its client does not."""
    give_up_s = time.monotonic() + (gateway.settings.request_timeout_s or math.inf)
    while True:
        try:
            with asked(gateway, asker) as request:
                await _attempt(request, call, sink)
                return
        except (ServerOverloaded, RateLimitExceeded) as error:
            wait_s = error.retry_after_s
            if time.monotonic() + wait_s > give_up_s or gateway.in_flight.draining:
                raise
        await asyncio.sleep(wait_s)


async def _attempt(request: Asked, call: Call, sink: StoredEvents) -> None:
    if not await request.gateway.responses.begin(response_id(request.id)):
        return  # cancelled or deleted
    try:
        await (stream(request, call, lambda: sink) if call.request.stream else whole(request, call))
    except ServerOverloaded:
        request.record.is_handed_over = True  # to the next attempt
        raise


async def follow(gateway: Gateway, owner: str, id: str, after: int, open_sink: Callable[[], Sink]) -> None:
    """Send the events of a response with numbers above `after` until it has ended, whichever process works on it."""
    async with open_sink() as sink:
        ended_s = math.inf
        while True:
            response = await gateway.responses.get(owner, id)
            events = await gateway.responses.events(id, after)
            after += len(events)
            await sink.send(b"".join(events))
            if events and events[-1].startswith(_LAST):
                break
            if events:
                continue
            if response is None or response["status"] not in OPEN:
                ended_s = min(ended_s, time.monotonic())
                if response is None or response["status"] == "cancelled" or time.monotonic() > ended_s + _PATIENCE_S:
                    await sink.send(_last_event(response, after))
                    break
            await asyncio.sleep(_LOOK_S)
        await sink.end(DONE)


def _last_event(response: Json | None, after: int) -> bytes:
    """Of a response whose stream was cut off: it was cancelled, or its process has ended. None was deleted."""
    if response is None:
        return b""
    kind = _LAST_TYPES.get(response["status"], "response.incomplete")
    return event_bytes({"type": kind, "sequence_number": after + 1, "response": cast("Response", response)})
