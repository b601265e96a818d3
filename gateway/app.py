"""The application: routes, layers, and what lives as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.answers.backend import Backend
from gateway.answers.in_flight import InFlight
from gateway.answers.tally import Tally
from gateway.endpoints.generation import SHAPES, GenerationRoutes, is_generation
from gateway.endpoints.health import add_health
from gateway.endpoints.models import add_models
from gateway.http.auth import RequireApiKey
from gateway.http.deadline import BodyDeadline
from gateway.http.edge import Edge
from gateway.http.errors import RESPONSES, install_handlers
from gateway.http.event_stream import Heartbeat
from gateway.http.page_files import add_page
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.triton.backend import TritonBackend

_REF = "#/components/schemas/{model}"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; as server-sent events if `stream` is true.",
        "content": {"text/event-stream": {}},
    },
    **RESPONSES,
}


class _App(FastAPI):
    """FastAPI behind the generation routes: it describes them and serves all else."""

    def build_middleware_stack(self) -> ASGIApp:
        """Both have the layers that were added; only FastAPI's own routes have those that it adds itself."""
        generation: ASGIApp = GenerationRoutes(self.state)
        for layer, args, kwargs in reversed(self.user_middleware):
            generation = layer(generation, *args, **kwargs)
        rest = super().build_middleware_stack()

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await (generation if is_generation(scope) else rest)(scope, receive, send)

        return serve

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        _, definitions = models_json_schema(
            [(shape.body, "validation") for shape in SHAPES.values()], ref_template=_REF
        )
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
    _describe_generation(app)
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
            allow_headers=["*"],  # OpenAI's own client sends a dozen of its own; the origin is what is judged
            expose_headers=["x-request-id", "x-ignored-parameters", "retry-after"],
        )
    return app


def _lifespan(settings: Settings, backend: Backend | None, tally: Tally) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = backend or TritonBackend(settings.triton_grpc)  # a gRPC channel belongs to the running loop
        in_flight = InFlight(engines, settings.max_concurrent_requests, tally)
        heartbeat = Heartbeat(settings.sse_ping_interval_s)
        deadline = BodyDeadline(settings.body_timeout_s)
        app.state.gateway = Gateway(settings, engines, in_flight, Metrics(tally), heartbeat, deadline)
        clocks = [asyncio.create_task(clock.run()) for clock in (heartbeat, deadline)]
        try:
            yield
        finally:
            for clock in clocks:
                clock.cancel()
            await in_flight.drain(settings.shutdown_grace_s)

    return lifespan


def _describe_generation(app: FastAPI) -> None:
    for path, shape in SHAPES.items():
        app.router.add_api_route(
            path,
            _answered_in_front,
            name=path.removeprefix("/v1/").replace("/", "_"),
            methods=["POST"],
            tags=["generation"],
            openapi_extra=_describe(shape.body),
            responses=_RESPONSES,
        )


async def _answered_in_front() -> Response:
    raise NotImplementedError  # `_App` lets none of these requests through to here


def _describe(body: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=body.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
