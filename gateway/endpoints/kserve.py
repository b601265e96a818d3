"""/v2: KServe's API of the models that Triton serves beside the engines.

Only of those: the engines and their steps are reached through the paths that admit, count and bound requests to them.
Triton's APIs of shared memory, model control, traces and its log are not here at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from gateway.admission.terms import Terms
from gateway.answers.inference.models import Json, ModelVersion, OtherModels, other_model_not_found
from gateway.answers.inference.sequences import check_sequence
from gateway.dialects.kserve.answer import (
    EXTENSIONS,
    InferResponse,
    ModelConfiguration,
    ModelMetadata,
    ModelReady,
    ModelStatistics,
    ServerLive,
    ServerMetadata,
    ServerReady,
    encode,
)
from gateway.dialects.kserve.envelope import KSERVE, ROOT
from gateway.dialects.kserve.request import InferRequest, parse
from gateway.endpoints.health import not_ready_reason
from gateway.http.auth import caller_of
from gateway.http.body import check_type, parse_object, read_pieces
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import described
from gateway.http.keys import ENVIRONMENT_KEY
from gateway.http.patience import complete_and_begin_by_s
from gateway.http.request_id import REQUEST_ID
from gateway.metrics.recorder import Served
from gateway.metrics.request_record import RequestRecord
from gateway.state import COUNTED, Gateway, GatewayDep
from triton_repo.contract.distribution import conch_version
from triton_repo.contract.errors import EngineUnavailable, InvalidRequest, ModelNotFound

BODIES: Final = (InferRequest,)
HEALTH_PATHS: Final = (f"{ROOT}/health/live", f"{ROOT}/health/ready")
INFER: Final = f"{ROOT}/models/{{model}}/infer"  # under this name its requests are counted, of whatever version

_JSON_LENGTH: Final = "inference-header-content-length"
_JSON: Final = "application/json"
_OCTETS: Final = "application/octet-stream"
_BINARY: Final[Json] = {"schema": {"type": "string", "contentMediaType": _OCTETS}}
_LARGE: Final = 2**18  # bytes of tensors, which take milliseconds to become JSON or to be made of it
_MAX_VERSION: Final = 18  # digits; Triton has them as 64-bit integers
_CLIENT_LEFT: Final = 499  # nginx's, for the access log: no client reads it

T = TypeVar("T")


class Body(NamedTuple):
    """`binary` is what stands behind the JSON; `num_bytes` have both."""

    fields: dict[str, Any]
    binary: bytes
    num_bytes: int


def add_kserve(app: FastAPI) -> None:
    errors = described(KSERVE.error_model)
    tags: list[Any] = ["kserve"]
    app.get(ROOT, tags=tags, responses=errors)(server_metadata)
    live_path, ready_path = HEALTH_PATHS
    app.get(live_path, tags=tags, responses=errors)(live)
    app.get(ready_path, tags=tags, responses=errors)(ready)
    for names in (("model",), ("model", "version")):
        path = f"{ROOT}/models/{{model}}" + ("/versions/{version}" if "version" in names else "")
        suffix = "_of_version" if "version" in names else ""
        extra = {"parameters": [_path_parameter(name) for name in names]}
        for end, answer in (
            ("", metadata),
            ("/ready", model_ready),
            ("/config", configuration),
            ("/stats", statistics),
        ):
            id = f"kserve_{answer.__name__}{suffix}"
            app.get(path + end, tags=tags, responses=errors, operation_id=id, openapi_extra=extra)(answer)
        app.post(
            path + "/infer",
            tags=tags,
            operation_id=f"kserve_infer{suffix}",
            responses={200: {"model": InferResponse, "content": {_OCTETS: _BINARY}}, **errors},
            openapi_extra={**extra, "requestBody": {"required": True, "content": _contents()}},
        )(infer)
        for end in ("/generate", "/generate_stream"):
            app.post(path + end, dependencies=COUNTED, include_in_schema=False)(generate)


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _contents() -> Json:
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{InferRequest.__name__}"}}, _OCTETS: _BINARY}


async def server_metadata() -> ServerMetadata:
    return {"name": "triton", "version": conch_version(), "extensions": [*EXTENSIONS]}


async def live() -> ServerLive:
    return {"live": True}


async def ready(gateway: GatewayDep) -> ServerReady:
    """The same as /health/ready."""
    if reason := await not_ready_reason(gateway):
        raise EngineUnavailable(reason)
    return {"ready": True}


async def metadata(request: Request, gateway: GatewayDep) -> ModelMetadata:
    answer: Any = await _models(gateway).metadata(_asked(request, gateway))
    metadata: ModelMetadata = answer
    return metadata


async def configuration(request: Request, gateway: GatewayDep) -> ModelConfiguration:
    answer: Any = await _models(gateway).configuration(_asked(request, gateway))
    configuration: ModelConfiguration = answer
    return configuration


async def statistics(request: Request, gateway: GatewayDep) -> ModelStatistics:
    answer: Any = await _models(gateway).statistics(_asked(request, gateway))
    statistics: ModelStatistics = answer
    return statistics


async def model_ready(request: Request, gateway: GatewayDep) -> ModelReady:
    model = _asked(request, gateway)
    if not await _models(gateway).is_ready(model):
        raise EngineUnavailable(f"model {model.name} is not ready")
    return {"name": model.name, "ready": True}


async def infer(request: Request, gateway: GatewayDep) -> Response:
    """What a model makes of tensors: in JSON, or as bytes behind it (Triton's extension `binary_tensor_data`)."""
    try:
        with gateway.metrics.record(INFER) as record:
            record.trace(request.scope[REQUEST_ID], request.scope["headers"])
            return await _infer(request, gateway, record)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_LEFT)


async def generate(request: Request, gateway: GatewayDep) -> Response:
    """Triton's extension: a tensor for each field of a JSON object. Engines answer below /v1."""
    path = f"{ROOT}/models/{_asked(request, gateway).name}/infer"
    raise ModelNotFound(f"models beside the engines are asked with {path}; generate is not served")


async def _infer(request: Request, gateway: Gateway, record: RequestRecord) -> Response:
    """A request counts in the quota of its caller; it has no tokens. Its body counts as long as Triton has it."""
    caller = caller_of(request.scope)
    quota = gateway.quotas.of(caller.name, caller.limits)
    quota.take_request()
    model = _asked(request, gateway)
    record.served = Served(model.name, "")  # until its own version is known, which no client makes up
    with quota, gateway.bodies.share() as share:
        terms = Terms(caller.name, quota, caller.batch, *complete_and_begin_by_s(request.scope))
        gateway.in_flight.check_open()
        body = await _read(request, gateway, share.set)
        inference, form = await _aside(body.num_bytes, lambda: parse(model, body.fields, body.binary))
        if inference.sequence:
            await check_sequence(inference, _models(gateway))
        owner = "" if caller.name == ENVIRONMENT_KEY else caller.name  # of a key that others may have beside it
        inference = replace(inference.owned_by(owner), traceparent=record.traceparent)
        async with UnlessDisconnected(request.receive), gateway.in_flight.open_inference(terms):
            inferred = await _models(gateway).infer(inference)
    num_bytes = sum(len(output.content) for output in inferred.outputs)
    content, json_length = await _aside(num_bytes, lambda: encode(inferred, form))
    record.served = Served(model.name, inferred.model.version)
    record.is_whole = True
    headers = {"content-type": _JSON}
    if json_length is not None:
        headers |= {"content-type": _OCTETS, _JSON_LENGTH: str(json_length)}
    return Response(content, headers=headers)


async def _aside(num_bytes: int, work: Callable[[], T]) -> T:
    """Other requests go on while much is converted."""
    return await asyncio.to_thread(work) if num_bytes > _LARGE else work()


def _asked(request: Request, gateway: Gateway) -> ModelVersion:
    """
    Raises:
        ModelNotFound: it is none that is served here, or the caller may not use it.
    """
    model = ModelVersion(request.path_params["model"], request.path_params.get("version", ""))
    is_served = model.name in gateway.settings.other_models and caller_of(request.scope).may_use(model.name)
    is_version = model.version.isdecimal() and model.version.isascii() and len(model.version) <= _MAX_VERSION
    if not is_served or not (is_version or not model.version):
        raise other_model_not_found(model)
    return model


def _models(gateway: Gateway) -> OtherModels:
    return gateway.backend.others


async def _read(request: Request, gateway: Gateway, hold: Callable[[int], None]) -> Body:
    """
    Raises:
        UnsupportedMediaType, BodyTooLarge, BodyTimeout, InvalidRequest, ClientDisconnect
        EngineUnavailable: there is no room for a body of this size.
    """
    headers, settings = request.headers, gateway.settings
    # NVIDIA's client names no type. A web page that names none says where it comes from.
    check_type(headers, _JSON, _OCTETS, *(() if "origin" in headers else ("",)))
    body = bytearray()
    async for piece in read_pieces(headers, request.receive, settings.max_body_bytes, settings.body_timeout_s):
        body += piece
        hold(len(body))
    length = _json_length(headers, len(body))
    content = bytes(body)
    return Body(await parse_object(content[:length]), content[length:], len(content))


def _json_length(headers: Headers, num_bytes: int) -> int:
    given = headers.get(_JSON_LENGTH)
    if given is None:
        return num_bytes
    if not (given.isascii() and given.isdecimal() and len(given) < _MAX_VERSION and int(given) <= num_bytes):
        raise InvalidRequest(f"{_JSON_LENGTH} = {given[:20]!r}: must be at most {num_bytes}, the length of the body")
    return int(given)
