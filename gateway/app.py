"""The application: routes, layers, and what lives as long as the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
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
from gateway.metrics import Metrics
from gateway.models import add_models
from gateway.page_files import add_page
from gateway.requests import ChatCompletionRequest, CompletionRequest
from gateway.respond import respond
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.tally import Tally
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


def create_app(settings: Settings, backend: Backend | None = None, tally: Tally | None = None) -> FastAPI:
    """The gateway as an ASGI application; without a `backend` it talks to Triton at `settings.triton_grpc`.

    A `tally` of open requests makes it one of several that share the bound on them.
    """
    app = _App(
        title="Conch",
        version=version("conch"),
        description="OpenAI's API over Triton.",
        lifespan=_lifespan(settings, backend, tally or Tally()),
        redirect_slashes=False,
    )
    install_handlers(app)
    _add_generation(app)
    add_models(app)
    add_health(app)
    page_paths = add_page(app)
    if settings.api_key is not None:
        # /metrics is open as vLLM's is: it tells names and counts, and a scraper has no business with the key.
        open_paths = {"/health/live", "/health/ready", "/metrics", *page_paths}
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


def _lifespan(settings: Settings, backend: Backend | None, tally: Tally) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = backend or TritonBackend(settings.triton_grpc)  # a gRPC channel belongs to the running loop
        in_flight = InFlight(engines, settings.max_concurrent_requests, tally)
        app.state.gateway = Gateway(settings, engines, in_flight, Metrics(tally))
        try:
            yield
        finally:
            await in_flight.drain(settings.shutdown_grace_s)

    return lifespan


def _add_generation(app: FastAPI) -> None:
    chat_shape, completion_shape = ChatShape(), CompletionShape()

    async def chat_completions(request: Request) -> Response:
        return await respond(request, request.app.state.gateway, chat_shape)

    async def completions(request: Request) -> Response:
        return await respond(request, request.app.state.gateway, completion_shape)

    for path, endpoint, body in (
        ("/v1/chat/completions", chat_completions, ChatCompletionRequest),
        ("/v1/completions", completions, CompletionRequest),
    ):
        app.router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            tags=["generation"],
            openapi_extra=_describe(body),
            responses=_RESPONSES,
            route_class_override=_PlainRoute,
        )


class _PlainRoute(APIRoute):
    """A route that FastAPI describes and does no more for: its endpoint takes the request as it comes.

    Solving dependencies is a tenth of the gateway's work on a short answer.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def _describe(body: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=body.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
