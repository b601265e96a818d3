"""The endpoints of encoders: one path from the body of a POST to its response, for embeddings, scores and classes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from gateway.admission.terms import Terms
from gateway.catalog.catalog import Found
from gateway.dialects.dialect import Head
from gateway.dialects.openai.encodings.classify import Classify
from gateway.dialects.openai.encodings.embeddings import Embeddings
from gateway.dialects.openai.encodings.operation import Call, Operation, check_fields
from gateway.dialects.openai.encodings.rerank import Rerank
from gateway.dialects.openai.encodings.score import Score
from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints.finding import check_open, found, with_model
from gateway.http.auth import caller_of
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import described
from gateway.http.patience import complete_and_begin_by_s
from gateway.http.preferences import check_ignored, response_headers
from gateway.http.request_id import REQUEST_ID
from gateway.metrics.recorder import served_by
from gateway.metrics.request_record import RequestRecord
from gateway.state import Gateway, GatewayDep

OPERATIONS: Final[tuple[Operation, ...]] = (Embeddings(), Rerank(), Score(), Classify())

BY_PATH: Final = {path: operation for operation in OPERATIONS for path in operation.paths}
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
                record.trace(request.scope[REQUEST_ID], request.scope["headers"])
                return await _answer(request, gateway, operation, record)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_LEFT)

    return endpoint


async def _answer(request: Request, gateway: Gateway, operation: Operation, record: RequestRecord) -> Response:
    scope, settings = request.scope, gateway.settings
    caller = caller_of(scope)
    quota = gateway.quotas.of(caller.name, caller.limits)
    quota.take_request()
    with quota:
        terms = Terms(caller.name, quota, caller.batch, *complete_and_begin_by_s(scope))
        fields = await read_object(
            scope, request.receive, settings.max_body_bytes, settings.body_timeout_s, gateway.bodies
        )
        fields = await with_model(gateway, fields, caller)
        check_open(gateway, fields, caller, scope[REQUEST_ID], terms)
        ignored = check_fields(fields, operation.body)
        call = operation.parse(fields)
        check_ignored(scope, ignored)
        engine = await found(gateway, call.model, fields, caller, scope[REQUEST_ID])
        async with UnlessDisconnected(request.receive):
            body = await encode(gateway, call, engine, Asker(scope[REQUEST_ID], terms, record))
    return Response(body, headers=response_headers(scope, ignored), media_type="application/json")


class Asker(NamedTuple):
    """Who waits for an answer. `id` is the request's."""

    id: str
    terms: Terms
    record: RequestRecord


async def encode(gateway: Gateway, call: Call, engine: Found, asker: Asker) -> bytes:
    """The body of the answer.

    Raises:
        RequestError
    """
    asker.record.served = served_by(engine.resolution.engine, engine.resolution)
    request, traceparent = call.request(engine.card), asker.record.traceparent
    asked = replace(request, model=engine.resolution.engine, id=asker.id, traceparent=traceparent)
    head = Head(asker.id, int(time.time()), call.model, "")
    opened = gateway.in_flight.open_encoding(asked, engine.card, gateway.settings.max_body_bytes, asker.terms)
    with closing(opened) as asker.record.answer:
        return call.answer(head, await opened.numbers(), opened.usage, engine.card)
