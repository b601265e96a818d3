"""What an operator asks.

GET /health/live: does the event loop turn. GET /health/ready: is it of use to send requests here; GET /health is the
same, as it is with vLLM. GET /metrics: how many requests came, how they ended and how long they took, in Prometheus'
format. The same paths below /v1 are those of NVIDIA's NIM.
"""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from starlette.responses import PlainTextResponse

from gateway.state import GatewayDep
from triton_repo.contract.errors import RequestError


def add_health(app: FastAPI) -> None:
    for path in ("/health/live", "/v1/health/live"):
        app.get(path, tags=["health"])(live)
    for path in ("/health", "/health/ready", "/v1/health/ready"):
        app.get(path, tags=["health"], responses={503: {"description": "Not ready; `reason` says why."}})(ready)
    for path in ("/metrics", "/v1/metrics"):
        app.get(path, tags=["health"], response_class=PlainTextResponse)(metrics)


async def live() -> dict[str, str]:
    return {"status": "live"}


async def ready(gateway: GatewayDep, response: Response) -> dict[str, str]:
    reason = await _not_ready_reason(gateway)
    if reason is None:
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready", "reason": reason}


async def metrics(request: Request, gateway: GatewayDep) -> Response:
    content, content_type = await gateway.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": content_type})


async def _not_ready_reason(gateway: GatewayDep) -> str | None:
    if gateway.in_flight.draining:
        return "shutting down"
    try:
        await gateway.backend.ready()
    except RequestError as error:
        return error.message
    return None
