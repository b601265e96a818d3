"""/v1/batches: many requests in a file, answered when the engines have nothing more urgent to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.admission.caller import ANYONE, Caller
from gateway.admission.terms import Terms
from gateway.batches.batch import Batch, Metadata
from gateway.dialects.body import parse_body
from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints import encode
from gateway.endpoints.answering import Asker, answer_whole, parsed
from gateway.endpoints.files import MAX_EXPIRY_S, MIN_EXPIRY_S, find_file
from gateway.endpoints.finding import found, with_model
from gateway.endpoints.list_page import ListPage
from gateway.endpoints.routes import OPERATIONS
from gateway.http.body import read_object
from gateway.http.errors import described
from gateway.state import COUNTED, Gateway, GatewayDep, owner_of
from gateway.store.files import Page
from triton_repo.contract.errors import InvalidRequest, ModelNotFound

WINDOW_S: Final[Mapping[str, int]] = {"24h": 86400}
MAX_OPEN: Final = 100  # batches of one key that have not ended
ENDPOINTS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"})

_FEW: Final = 8  # requests at once, where an engine does not say how large its batch is
_MANY: Final = 64


class BatchNotFound(InvalidRequest):
    status = 404
    code = "batch_not_found"


class OutputExpiresAfter(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=MIN_EXPIRY_S, le=MAX_EXPIRY_S)]


class BatchRequest(BaseModel):
    """POST /v1/batches."""

    model_config = ConfigDict(strict=True, frozen=True)

    input_file_id: Annotated[str, Field(max_length=64)]
    endpoint: str
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: OutputExpiresAfter | None = None


class BatchList(ListPage[Batch]):
    """A page of the batches of one key."""


def add_batches(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    options = {"tags": ["batches"], "responses": errors}
    app.post("/v1/batches", dependencies=COUNTED, openapi_extra=_BODY, **options)(create_batch)  # type: ignore[arg-type]
    app.get("/v1/batches", **options)(list_batches)  # type: ignore[arg-type]
    app.get("/v1/batches/{batch}", **options)(get_batch)  # type: ignore[arg-type]
    app.post("/v1/batches/{batch}/cancel", **options)(cancel_batch)  # type: ignore[arg-type]


async def create_batch(request: Request, gateway: GatewayDep) -> Batch:
    settings = gateway.settings
    limits = (settings.max_body_bytes, settings.body_timeout_s, gateway.bodies)
    body = parse_body(BatchRequest, await read_object(request.scope, request.receive, *limits))
    if body.endpoint not in ENDPOINTS:
        rule = f"must be one of {', '.join(sorted(ENDPOINTS))}"
        raise InvalidRequest(f"endpoint = {body.endpoint[:80]!r}: {rule}", "endpoint")
    file = await find_file(body.input_file_id, request, gateway)
    if file.purpose != "batch":
        raise InvalidRequest(f"input_file_id: the purpose of the file is {file.purpose}, not batch", "input_file_id")
    now = int(time.time())
    batch = Batch(
        id=f"batch_{token_hex(12)}",
        endpoint=body.endpoint,
        input_file_id=file.id,
        completion_window=body.completion_window,
        created_at=now,
        expires_at=now + WINDOW_S[body.completion_window],
        metadata=body.metadata,
    )
    expires = body.output_expires_after.seconds if body.output_expires_after else MAX_EXPIRY_S
    if not await gateway.batches.add(owner_of(request), batch, expires, MAX_OPEN):
        raise InvalidRequest(f"at most {MAX_OPEN} batches of one key may be open")
    gateway.batch_runner.wake()
    return batch


async def list_batches(
    request: Request,
    gateway: GatewayDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> BatchList:
    return BatchList.of(await gateway.batches.page(owner_of(request), Page(limit, after)), limit)


async def get_batch(batch: str, request: Request, gateway: GatewayDep) -> Batch:
    found = await gateway.batches.get(owner_of(request), batch)
    if found is None:
        raise BatchNotFound(f"no such batch: {batch[:80]!r}", "id")
    return found


async def cancel_batch(batch: str, request: Request, gateway: GatewayDep) -> Batch:
    """The requests that are being answered end soon after; what was answered is in the output file."""
    found = await get_batch(batch, request, gateway)
    if found.has_ended or found.status == "finalizing":
        raise InvalidRequest(f"a batch that is {found.status} cannot be cancelled")
    cancelled = await gateway.batches.change(batch, Batch.cancelling)
    gateway.batch_runner.wake()
    return cancelled


@dataclass(frozen=True, slots=True)
class BatchAnswering:
    """The requests of batches, answered as those of clients are, at first behind all others."""

    gateway: Gateway

    async def capacity(self, model: str) -> int:
        """Half of what the engine works on at once, so that others need not wait until a request has ended."""
        try:
            size = (await self.gateway.catalog.find(model)).card.max_batch_size
        except ModelNotFound:  # its lines say so
            size = None
        return max(1, min(_MANY, (size or 2 * _FEW) // 2))

    def caller(self, name: str) -> Caller | None:
        if not self.gateway.keys.are_needed:
            return ANYONE
        return next((caller for caller in self.gateway.keys.callers if caller.name == name), None)

    async def answer(
        self, endpoint: str, fields: dict[str, Any], caller: Caller, id: str, *, behind_others: bool
    ) -> bytes:
        if endpoint in encode.BY_PATH:
            return await self._encode(endpoint, fields, caller, id, behind_others)
        call = await parsed(self.gateway, OPERATIONS[endpoint], fields, caller, id)
        in_turn = replace(call, request=replace(call.request, batch=behind_others))
        return await answer_whole(self.gateway, Asker(endpoint, caller, id, is_counted=True), in_turn)

    async def _encode(
        self, endpoint: str, fields: dict[str, Any], caller: Caller, id: str, behind_others: bool
    ) -> bytes:
        quota = self.gateway.quotas.of(caller.name, caller.limits)
        fields = await with_model(self.gateway, fields, caller)
        call = encode.BY_PATH[endpoint].parse(fields)
        with self.gateway.metrics.record(endpoint) as record, quota:
            engine = await found(self.gateway, call.model, fields, caller, id)
            asker = encode.Asker(id, Terms(caller.name, quota, caller.batch or behind_others), record)
            return await encode.encode(self.gateway, call, engine, asker)


_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{BatchRequest.__name__}"}}},
    }
}
