"""From the body of a POST to its HTTP response, streamed or whole: one path for all dialects."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from starlette.datastructures import State
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission.caller import ANYONE, CALLER, Caller
from gateway.admission.quota import Quota
from gateway.admission.terms import Terms
from gateway.answers.answer import Answer
from gateway.answers.events import Event, Usage, fold
from gateway.dialects.dialect import Call, Encoder, Head, Operation
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import ErrorResponses, method_not_allowed
from gateway.http.event_stream import EventStream
from gateway.http.patience import complete_and_begin_by_s
from gateway.http.request_id import REQUEST_ID
from gateway.metrics import RequestRecord
from gateway.state import Gateway
from triton_repo.contract.errors import EngineFailed, RequestError
from triton_repo.contract.model_card import ModelCard

logger = logging.getLogger(__name__)


class Generate:
    """Answers requests for the path of an operation, and hands all others on to `rest`.

    It stands in front of FastAPI, whose layers around an endpoint cost more than to answer a short stream.
    """

    def __init__(
        self, rest: ASGIApp, operations: Mapping[str, Operation], state: State, errors: ErrorResponses
    ) -> None:
        self._rest = rest
        self._operations = operations
        self._state = state
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._operations.get(scope["path"]) if scope["type"] == "http" else None
        if operation is None:
            await self._rest(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                raise method_not_allowed(scope, "POST")
            await answer_post(scope, receive, send, self._state.gateway, operation)
        except RequestError as error:
            await self._errors.response(scope, error)(scope, receive, send)
        except ClientDisconnect:
            pass  # there is no client left to answer


async def answer_post(scope: Scope, receive: Receive, send: Send, gateway: Gateway, operation: Operation) -> None:
    """Answer one POST.

    Raises:
        RequestError: it failed, and the status line is not out.
        ClientDisconnect: the client has left.
    """
    with gateway.metrics.record(scope["path"]) as record:
        caller: Caller = scope.get(CALLER, ANYONE)
        quota = gateway.quotas.of(caller.name, caller.limits)
        quota.take_request()
        with quota:
            post = _Post(scope, gateway, record, caller, _terms(scope, caller, quota))
            call = await _read(post, receive, operation)
            try:
                async with UnlessDisconnected(receive):
                    response = await _answer(post, call, send)
            except RequestError as error:
                raise call.named_as_sent(error) from None
    if response is not None:
        await response(scope, receive, send)


class _Post(NamedTuple):
    scope: Scope
    gateway: Gateway
    record: RequestRecord
    caller: Caller
    terms: Terms


def _terms(scope: Scope, caller: Caller, quota: Quota) -> Terms:
    complete_by_s, begin_by_s = complete_and_begin_by_s(scope)
    return Terms(caller.name, quota, caller.batch, complete_by_s, begin_by_s)


async def _read(post: _Post, receive: Receive, operation: Operation) -> Call:
    """The parsed body; the body itself, which can be far larger, is freed before the answer.

    To parse a request costs more than to reject it, which an overloaded server does most of the time.
    """
    gateway, settings = post.gateway, post.gateway.settings
    fields = await read_object(post.scope, receive, settings.max_body_bytes, settings.body_timeout_s, gateway.bodies)
    model = fields.get("model")
    if isinstance(model, str):
        post.caller.check_may_use(model)  # first: how busy a model is tells that it exists
        gateway.admission.check_open(model, post.terms)
    return operation.parse(fields)


async def _answer(post: _Post, call: Call, send: Send) -> Response | None:
    """The response; None if it is streamed, and so sent already."""
    gateway, record, request = post.gateway, post.record, call.request
    post.caller.check_may_use(request.model)
    card = await gateway.backend.card(request.model)
    record.model = request.model
    id: str = post.scope[REQUEST_ID]
    generations = request.generations(id, card, gateway.settings.max_body_bytes)
    encoder = call.encoder(Head(id, int(time.time()), request.model, _fingerprint(card)))
    terms = replace(post.terms, batch=True) if request.batch else post.terms
    with closing(gateway.in_flight.open(generations, len(request.prompts), card, terms)) as answer:
        headers = {**terms.quota.headers(), **({"x-ignored-parameters": call.ignored} if call.ignored else {})}
        record.answer = answer
        if request.stream:
            stream = EventStream(send, headers, gateway.heartbeat)
            await _stream(stream, call, encoder, answer, record)
            return None
        async with aclosing(answer.events()) as batches:
            whole = fold([event async for batch in batches for event in batch])
    return Response(encoder.whole(whole), headers=headers, media_type="application/json")


async def _stream(stream: EventStream, call: Call, encoder: Encoder, answer: Answer, record: RequestRecord) -> None:
    """A stream that has begun ends exactly once: complete, or with the error that ended it."""
    async with aclosing(answer.events()) as batches:
        # The status line waits for the engine's first events, so that what fails before them has a status of its own.
        first = await anext(batches)
        record.begin_stream()
        async with stream:
            try:
                await stream.send(encoder.start() + _encode(encoder, first))
                last = b""
                async for batch in batches:
                    last = _encode(encoder, batch)
                    if not isinstance(batch[-1], Usage):
                        await stream.send(last)
                last += encoder.finish()
            except RequestError as error:
                last = encoder.fail(call.named_as_sent(error))
            except Exception:  # a process boundary: the status is out, so the stream itself has to say that it failed
                logger.exception("a stream failed")
                last = encoder.fail(EngineFailed("internal error"))
            await stream.end(last)


def _encode(encoder: Encoder, events: Sequence[Event]) -> bytes:
    return b"".join(map(encoder.event, events))


@lru_cache
def _fingerprint(card: ModelCard) -> str:
    return "fp_" + hashlib.sha256(card.to_json().encode()).hexdigest()[:10]
