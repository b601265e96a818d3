"""POST /v1/decisions: answered as a path that generates is, whole and at once."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from gateway.dialects.decisions.answer import Decision
from gateway.dialects.decisions.create import CreateDecision
from gateway.endpoints.answering import Asker, asked, parsed, whole
from gateway.endpoints.finding import check_open
from gateway.endpoints.responses.query import Routes, described_body
from gateway.http.auth import caller_of
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.patience import complete_and_begin_by_s
from gateway.http.preferences import check_ignored, response_headers
from gateway.http.request_id import REQUEST_ID
from gateway.state import GatewayDep

BODIES: Final = (CreateDecision.body,)


def add_decisions(app: FastAPI) -> None:
    body = described_body(CreateDecision.body)
    Routes(app, "decisions").add("POST", "/v1/decisions", create_decision, Decision, body)


async def create_decision(request: Request, gateway: GatewayDep) -> Response:
    """The probabilities of the options of each question; nothing is generated."""
    scope, settings, caller = request.scope, gateway.settings, caller_of(request.scope)
    try:
        with asked(gateway, Asker(scope["path"], caller, scope[REQUEST_ID])) as asked_now:
            asked_now.record.trace(scope[REQUEST_ID], scope["headers"])
            limits = (settings.max_body_bytes, settings.body_timeout_s, gateway.bodies)
            fields = await read_object(scope, request.receive, *limits)
            gateway.in_flight.check_open()
            check_open(gateway, fields, caller, scope[REQUEST_ID], asked_now.terms)
            async with UnlessDisconnected(request.receive):
                call = await parsed(gateway, CreateDecision(), fields, caller, scope[REQUEST_ID])
                check_ignored(scope, call.ignored)
                body = await whole(asked_now.within(*complete_and_begin_by_s(scope)), call)
            headers = response_headers(scope, call.ignored)
    except ClientDisconnect:  # there is no client left to answer
        return Response()
    return Response(body, headers=headers, media_type="application/json")
