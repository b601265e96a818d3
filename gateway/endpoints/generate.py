"""From the body of a POST to its HTTP response, streamed or whole: one path for all dialects."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import State
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dialects.dialect import Call, Operation
from gateway.endpoints.answering import Asked, Asker, asked, parsed, stream, whole
from gateway.endpoints.finding import check_open
from gateway.endpoints.responses.background import begin
from gateway.http.auth import caller_of
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import ErrorResponses, method_not_allowed
from gateway.http.event_stream import EventStream
from gateway.http.patience import complete_and_begin_by_s
from gateway.http.preferences import check_ignored, response_headers
from gateway.http.request_id import REQUEST_ID
from gateway.state import Gateway
from triton_repo.contract.errors import RequestError


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
    with asked(gateway, Asker(scope["path"], caller_of(scope), scope[REQUEST_ID])) as asked_now:
        asked_now.record.trace(scope[REQUEST_ID], scope["headers"])
        request = asked_now.within(*complete_and_begin_by_s(scope))
        call = await _read(request, scope, receive, operation)
        check_ignored(scope, call.ignored)
        async with UnlessDisconnected(receive):
            response = await _answer(request, scope, call, send, operation.dialect.ping)
    if response is not None:
        await response(scope, receive, send)


async def _read(asked: Asked, scope: Scope, receive: Receive, operation: Operation) -> Call:
    """The parsed body; the body itself, which can be far larger, is freed before the answer."""
    gateway, settings = asked.gateway, asked.gateway.settings
    fields = await read_object(scope, receive, settings.max_body_bytes, settings.body_timeout_s, gateway.bodies)
    gateway.in_flight.check_open()
    check_open(gateway, fields, asked.caller, asked.id, asked.terms)
    return await parsed(gateway, operation, fields, asked.caller, asked.id)


async def _answer(asked: Asked, scope: Scope, call: Call, send: Send, ping: bytes) -> Response | None:
    """The response; None if it is streamed, and so sent already."""

    def open_stream() -> EventStream:
        return EventStream(send, response_headers(scope, call.ignored), asked.gateway.heartbeat, ping)

    if call.session is not None and call.session.is_background:
        body = await begin(asked, call, call.session, open_stream)
    elif call.request.stream:
        body = None
        await stream(asked, call, open_stream)
    else:
        body = await whole(asked, call)
    if body is None:
        return None
    return Response(body, headers=response_headers(scope, call.ignored), media_type="application/json")
