"""The endpoints of encoders: one path from the body of a POST to its response, for embeddings, scores and classes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from gateway.admission.caller import ANYONE, CALLER, Caller
from gateway.admission.terms import Terms
from gateway.dialects.dialect import Head
from gateway.dialects.openai.encodings.classify import Classify
from gateway.dialects.openai.encodings.embeddings import Embeddings
from gateway.dialects.openai.encodings.operation import Call, Operation, check_fields
from gateway.dialects.openai.encodings.rerank import Rerank
from gateway.dialects.openai.encodings.score import Score
from gateway.dialects.openai.envelope import OPENAI
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import described
from gateway.http.patience import complete_and_begin_by_s
from gateway.http.request_id import REQUEST_ID
from gateway.metrics import RequestRecord
from gateway.state import Gateway, GatewayDep

OPERATIONS: Final[tuple[Operation, ...]] = (Embeddings(), Rerank(), Score(), Classify())

BODIES: Final = tuple(operation.body for operation in OPERATIONS)

_CLIENT_LEFT: Final = 499  # nginx's, for the access log: no client reads it


def add_encoders(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    for operation in OPERATIONS:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        for path in operation.paths:
            responses: dict[int | str, dict[str, Any]] = {200: {"model": operation.answer}, **errors}
            extra = {"requestBody": body}
            name = type(operation).__name__.lower()
            app.post(path, name=name, tags=["encoders"], responses=responses, openapi_extra=extra)(_endpoint(operation))


def _endpoint(operation: Operation) -> Callable[[Request, Gateway], Awaitable[Response]]:
    async def endpoint(request: Request, gateway: GatewayDep) -> Response:
        try:
            with gateway.metrics.record(request.scope["path"]) as record:
                return await _answer(request, gateway, operation, record)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_LEFT)

    return endpoint


async def _answer(request: Request, gateway: Gateway, operation: Operation, record: RequestRecord) -> Response:
    scope, settings = request.scope, gateway.settings
    caller: Caller = scope.get(CALLER, ANYONE)
    quota = gateway.quotas.of(caller.name, caller.limits)
    quota.take_request()
    with quota:
        terms = Terms(caller.name, quota, caller.batch, *complete_and_begin_by_s(scope))
        fields = await read_object(
            scope, request.receive, settings.max_body_bytes, settings.body_timeout_s, gateway.bodies
        )
        model = fields.get("model")
        if isinstance(model, str):
            caller.check_may_use(model)  # first: how busy a model is tells that it exists
            gateway.admission.check_open(model, terms)
        ignored = check_fields(fields, operation.body)
        body = await _encode(request, gateway, operation.parse(fields), terms, record)
        headers = {**quota.headers(), **({"x-ignored-parameters": ignored} if ignored else {})}
    return Response(body, headers=headers, media_type="application/json")


async def _encode(request: Request, gateway: Gateway, call: Call, terms: Terms, record: RequestRecord) -> bytes:
    card = await gateway.backend.card(call.model)
    record.model = call.model
    asked = call.request(card)
    head = Head(request.scope[REQUEST_ID], int(time.time()), call.model, "")
    async with UnlessDisconnected(request.receive):
        with closing(gateway.in_flight.open_encoding(asked, card, gateway.settings.max_body_bytes, terms)) as encoding:
            record.answer = encoding
            return call.answer(head, await encoding.numbers(), encoding.usage, card)
