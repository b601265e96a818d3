"""The application: routes, layers, and what lives as long as the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware

from gateway.auth import RequireApiKey
from gateway.backend import Backend
from gateway.chat import ChatShape
from gateway.completions import CompletionShape
from gateway.edge import Edge
from gateway.failures import RESPONSES, install_handlers
from gateway.health import add_health
from gateway.in_flight import InFlight
from gateway.models import add_models
from gateway.page_files import add_page
from gateway.requests import ChatCompletionRequest, CompletionRequest
from gateway.respond import respond
from gateway.settings import Settings
from gateway.state import Gateway, GatewayDep
from gateway.triton import TritonBackend

_REF = "#/components/schemas/{model}"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; as server-sent events if `stream` is true.",
        "content": {"text/event-stream": {}},
    },
    **RESPONSES,
}
_BODIES: tuple[type[BaseModel], ...] = (ChatCompletionRequest, CompletionRequest)


class _App(FastAPI):
    """Bodies are read by `gateway.body`, which bounds them; FastAPI does not see them, so they are described here."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        _, definitions = models_json_schema([(body, "validation") for body in _BODIES], ref_template=_REF)
        schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        return schema


def create_app(settings: Settings, backend: Backend | None = None) -> FastAPI:
    """The gateway as an ASGI application; without a `backend` it talks to Triton at `settings.triton_grpc`."""
    app = _App(
        title="Conch",
        version=version("conch"),
        description="OpenAI's API over Triton.",
        lifespan=_lifespan(settings, backend),
        redirect_slashes=False,
    )
    install_handlers(app)
    _add_generation(app)
    add_models(app)
    add_health(app)
    page_paths = add_page(app)
    if settings.api_key is not None:
        open_paths = {"/health/live", "/health/ready", *page_paths}
        app.add_middleware(RequireApiKey, api_key=settings.api_key.get_secret_value(), open_paths=open_paths)
    app.add_middleware(Edge)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "x-ignored-parameters", "retry-after"],
        )
    return app


def _lifespan(settings: Settings, backend: Backend | None) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = backend or TritonBackend(settings.triton_grpc)  # a gRPC channel belongs to the running loop
        in_flight = InFlight(engines, settings.max_concurrent_requests)
        app.state.gateway = Gateway(settings, engines, in_flight)
        try:
            yield
        finally:
            await in_flight.drain(settings.shutdown_grace_s)

    return lifespan


def _add_generation(app: FastAPI) -> None:
    chat_shape, completion_shape = ChatShape(), CompletionShape()

    async def chat_completions(request: Request, gateway: GatewayDep) -> Response:
        return await respond(request, gateway, chat_shape)

    async def completions(request: Request, gateway: GatewayDep) -> Response:
        return await respond(request, gateway, completion_shape)

    for path, endpoint, body in (
        ("/v1/chat/completions", chat_completions, ChatCompletionRequest),
        ("/v1/completions", completions, CompletionRequest),
    ):
        app.post(path, tags=["generation"], openapi_extra=_describe(body), responses=_RESPONSES)(endpoint)


def _describe(body: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=body.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
