"""From a parsed request to its answer, by the same rules whether a client waits at a connection or none does.

`generate` answers POSTs with `whole` and `stream`; what runs in the background is answered by `answer_whole`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import replace
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from gateway.admission.caller import Caller
from gateway.admission.terms import Terms
from gateway.answers.answer import Answer
from gateway.answers.events import Event, Usage, fold
from gateway.dialects.dialect import Call, Encoder, Head, Operation
from gateway.endpoints.finding import found, with_model
from gateway.metrics.recorder import served_by
from gateway.metrics.request_record import RequestRecord
from gateway.state import Gateway
from triton_repo.contract.errors import EngineFailed, RequestError
from triton_repo.contract.model_card import ModelCard

logger = logging.getLogger(__name__)


class Asker(NamedTuple):
    """Who asks, and for which path.

    Attributes:
        endpoint: the path in whose metrics the request counts.
        id: the engines know the request by it; no other one may have it.
        is_counted: it has been taken from the requests per minute of its caller already.
    """

    endpoint: str
    caller: Caller
    id: str
    is_counted: bool = False


class Asked(NamedTuple):
    """One request, admitted to the quota of its caller."""

    gateway: Gateway
    record: RequestRecord
    caller: Caller
    terms: Terms
    id: str

    def within(self, complete_by_s: float, begin_by_s: float) -> Asked:
        """The same, of a client that waits so long."""
        return self._replace(terms=replace(self.terms, complete_by_s=complete_by_s, begin_by_s=begin_by_s))


class Sink(Protocol):
    """Where the events of a streamed answer go: entered when the first are there, and ended with the last ones."""

    has_begun: bool = False

    def expected(self, may_begin: Callable[[], bool], /) -> AbstractContextManager[None]:  # noqa: ARG002
        """Around the wait for the first events; one with a proxy in front begins without them if that is long."""
        return nullcontext()

    async def __aenter__(self) -> Sink: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    async def send(self, events: bytes, /) -> None: ...

    async def end(self, events: bytes, /) -> None: ...


@contextmanager
def asked(gateway: Gateway, asker: Asker) -> Iterator[Asked]:
    """A request, in the quota of its caller and in the metrics until the end of the block.

    Raises:
        RateLimitExceeded
    """
    caller = asker.caller
    with gateway.metrics.record(asker.endpoint) as record:
        quota = gateway.quotas.of(caller.name, caller.limits)
        if not asker.is_counted:
            quota.take_request()
        with quota:
            yield Asked(gateway, record, caller, Terms(caller.name, quota, caller.batch), asker.id)


async def parsed(gateway: Gateway, operation: Operation, fields: dict[str, Any], caller: Caller, id: str) -> Call:
    """The call that a body asks for, with what it refers to, of the engine that its model means.

    Raises:
        InvalidRequest: the body is wrong, or what it refers to is not the caller's, or no model is meant.
        ModelNotFound: there is no such model, or the caller may not use it.
    """
    fields = await with_model(gateway, fields, caller)
    call = operation.parse(fields)
    if call.session is not None:
        call = await call.session.recall(gateway.responses, caller.name, gateway.settings.max_body_bytes)
    resolution, card = await found(gateway, call.request.model, fields, caller, id)
    call = call.answered_by(resolution).beside(card)
    if call.session is None:
        return call
    try:
        return await call.session.fitted(call, card, gateway.backend.tokenize)
    except RequestError as error:
        raise call.named_as_sent(error) from None


async def answer_whole(gateway: Gateway, asker: Asker, call: Call) -> bytes:
    """The body of the answer to a request that no connection waits for.

    It has the turn, the quota and the metrics of every other request, and ends with the drain. To cancel the task
    stops the engines. Errors are those of `asked` and `whole`.
    """
    with asked(gateway, asker) as request:
        return await whole(request, call)


async def whole(asked: Asked, call: Call) -> bytes:
    """The body of the answer.

    Raises:
        RequestError: it was not admitted, or failed; names the parameter at fault as the client does.
    """
    async with _opened(asked, call) as (answer, encoder), aclosing(answer.events()) as batches:
        complete = fold([event async for batch in batches for event in batch])
    body = encoder.whole(complete)
    if call.session is not None:
        await call.session.keep()
    return body


async def stream(asked: Asked, call: Call, open_sink: Callable[[], Sink]) -> None:
    """Send the answer's events. A stream that has begun ends exactly once: complete, or with the error that ended it.

    Raises:
        RequestError: as `whole` does; only before the sink has begun.
    """
    async with _opened(asked, call) as (answer, encoder), aclosing(answer.events()) as batches:
        sink = open_sink()
        first = await _first(batches, sink, answer)
        if not isinstance(first, Exception):
            asked.record.begin_stream(answer)
        async with sink:
            last = encoder.start()
            try:
                await sink.send(last + _encode(encoder, _unless_failed(first)))
                last = b""
                async for batch in batches:
                    asked.record.progress(answer)
                    last = _encode(encoder, batch)
                    if not isinstance(batch[-1], Usage):
                        await sink.send(last)
                        last = b""
                ending = encoder.finish()
                if call.session is not None:
                    await call.session.keep()
            except RequestError as error:
                asked.record.failure = error
                ending = await _failed(call, encoder, call.named_as_sent(error))
            except Exception as error:  # a process boundary: the stream, whose status is out, has to say that it failed
                logger.exception("a stream failed")
                asked.record.failure = error
                ending = await _failed(call, encoder, EngineFailed("internal error"))
            await sink.end(last + ending)


async def _first(batches: AsyncIterator[Sequence[Event]], sink: Sink, answer: Answer) -> Sequence[Event] | Exception:
    """The first events, or the error in their place where the status is out.

    The status line waits for them, so that what fails before them has a status of its own; but once engines have all
    of the request, not so long that a proxy would take the silence for the end.

    Raises:
        Exception: the status is not out.
    """
    with sink.expected(lambda: answer.has_its_turns):
        try:
            return await anext(batches)
        except Exception as error:
            if not sink.has_begun:
                raise
            return error


def _unless_failed(events: Sequence[Event] | Exception) -> Sequence[Event]:
    if isinstance(events, Exception):
        raise events
    return events


@asynccontextmanager
async def _opened(asked: Asked, call: Call) -> AsyncIterator[tuple[Answer, Encoder]]:
    """The engines work on the answer until the end of the block."""
    gateway, request = asked.gateway, call.request
    asked.caller.check_may_use(*call.model_names)
    try:
        card = await gateway.backend.card(request.model)
        asked.record.served = served_by(request.model, call.resolution)
        generations = request.generations(asked.id, card, gateway.settings.max_body_bytes)
        head = Head(asked.id, int(time.time()), call.model, _fingerprint(card), lambda: answer.usage)
        if traceparent := asked.record.traceparent:
            generations = [replace(each, traceparent=traceparent) for each in generations]
        encoder = call.encoder(head)
        terms = replace(asked.terms, batch=asked.terms.batch or request.batch, priority=request.priority)
        with closing(gateway.in_flight.open(generations, len(request.prompts), card, terms)) as answer:
            asked.record.answer = answer
            yield answer, encoder
    except RequestError as error:
        raise call.named_as_sent(error) from None


async def _failed(call: Call, encoder: Encoder, error: RequestError) -> bytes:
    """The last events of a stream that failed."""
    ending = encoder.fail(error)
    if call.session is not None:
        with suppress(RequestError):  # logged; the stream ends with its own error
            await call.session.keep()
    return ending


def _encode(encoder: Encoder, events: Sequence[Event]) -> bytes:
    return b"".join(map(encoder.event, events))


@lru_cache
def _fingerprint(card: ModelCard) -> str:
    return "fp_" + hashlib.sha256(card.to_json().encode()).hexdigest()[:10]
