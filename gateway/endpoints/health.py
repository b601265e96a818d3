"""What an operator asks.

GET /health/live: does the event loop turn. GET /health/ready: is it of use to send requests here; GET /health is the
same, as it is with vLLM, and so are llama.cpp's /v1/health and /ping, which SageMaker asks. GET /metrics: how many
requests came, how they ended and how long they took, in Prometheus' format. The other paths below /v1 are those of
NVIDIA's NIM.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import FastAPI, Request, Response
from starlette.responses import PlainTextResponse
from typing_extensions import TypedDict

from gateway.answers.inference.models import ModelVersion
from gateway.dialects.openai.envelope import OPENAI
from gateway.http.errors import described
from gateway.state import Gateway, GatewayDep
from triton_repo.contract.errors import RequestError

LIVE_PATHS: Final = ("/health/live", "/v1/health/live")
READY_PATHS: Final = ("/health", "/health/ready", "/v1/health", "/v1/health/ready", "/ping")
METRICS_PATHS: Final = ("/metrics", "/v1/metrics")


class Live(TypedDict):
    status: Literal["live"]


class Ready(TypedDict):
    status: Literal["ready"]


class NotReady(TypedDict):
    status: Literal["not ready"]
    reason: str


def add_health(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    not_ready: dict[int | str, Any] = {503: {"description": "Not ready; `reason` says why.", "model": NotReady}}
    for path in LIVE_PATHS:
        app.get(path, tags=["health"], responses=errors)(live)
    responses: dict[int | str, dict[str, Any]] = {200: {"model": Ready}, **errors, **not_ready}
    for path in READY_PATHS:
        app.get(path, tags=["health"], response_model=None, responses=responses)(ready)
    app.post("/ping", include_in_schema=False)(ready)  # as vLLM has it
    text = {"schema": {"type": "string"}}
    formats = {"text/plain": text, "application/openmetrics-text": text}
    responses = {200: {"content": formats}, **errors}
    for path in METRICS_PATHS:
        app.get(path, tags=["health"], response_class=PlainTextResponse, responses=responses)(metrics)


async def live() -> Live:
    return {"status": "live"}


async def ready(gateway: GatewayDep, response: Response) -> Ready | NotReady:
    reason = await not_ready_reason(gateway)
    if reason is None:
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready", "reason": reason}


async def metrics(request: Request, gateway: GatewayDep) -> Response:
    content, content_type = await gateway.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": content_type})


async def not_ready_reason(gateway: Gateway) -> str | None:
    """Why nothing should be sent here; None if it may be."""
    if gateway.in_flight.draining:
        return "shutting down"
    try:
        await gateway.backend.ready()
        for name in gateway.settings.required_models:
            if not await gateway.backend.others.is_ready(ModelVersion(name)):
                return f"model {name} is not ready"
    except RequestError as error:
        return error.message
    return None
