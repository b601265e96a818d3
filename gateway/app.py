"""The application: routes, layers, and what lives as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.answers.backend import Backend
from gateway.answers.in_flight import InFlight
from gateway.answers.tally import Tally
from gateway.endpoints.description import describe
from gateway.endpoints.health import add_health
from gateway.endpoints.models import add_models
from gateway.endpoints.routes import Generate, dialect_of
from gateway.http.auth import RequireApiKey
from gateway.http.edge import Edge
from gateway.http.errors import ErrorResponses
from gateway.http.event_stream import Heartbeat
from gateway.http.page_files import add_page
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.triton.backend import TritonBackend
from triton_repo.contract.distribution import conch_version
from triton_repo.contract.errors import RequestError


class Application:
    """The gateway as an ASGI application: layers around `api`. `state.gateway` is there while its lifespan lasts."""

    def __init__(self, layers: ASGIApp, api: FastAPI) -> None:
        self._layers = layers
        self.api = api

    @property
    def state(self) -> State:
        return self.api.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._layers(scope, receive, send)


def create_app(settings: Settings, backend: Backend | None = None, tally: Tally | None = None) -> Application:
    """The gateway; without a `backend` it talks to Triton at `settings.triton_grpc`.

    A `tally` of open requests makes it one of several that share the bound on them.
    """
    api = FastAPI(
        title="Conch",
        version=conch_version(),
        description="OpenAI's API over Triton.",
        lifespan=_lifespan(settings, backend, tally or Tally()),
        redirect_slashes=False,
    )
    errors = ErrorResponses(_error_body)
    errors.install(api)
    describe(api)
    add_models(api)
    add_health(api)
    page_paths = add_page(api)
    layers: ASGIApp = Generate(api, api.state, errors)
    if settings.api_key is not None:
        # /metrics is open as vLLM's is: it tells names and counts, and a scraper has no business with the key.
        open_paths = {"/health/live", "/health/ready", "/metrics", *page_paths}
        layers = RequireApiKey(layers, settings.api_key.get_secret_value(), open_paths, _presented_keys, errors)
    layers = Edge(layers, errors)
    if settings.cors_origins:
        layers = CORSMiddleware(
            layers,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # OpenAI's own client sends a dozen of its own; the origin is what is judged
            expose_headers=["x-request-id", "x-ignored-parameters", "retry-after"],
        )
    return Application(layers, api)


def _error_body(path: str, error: RequestError) -> bytes:
    return dialect_of(path).error_body(error)


def _presented_keys(path: str, headers: Mapping[bytes, list[bytes]]) -> list[bytes]:
    return dialect_of(path).api_keys(headers)


def _lifespan(
    settings: Settings, backend: Backend | None, tally: Tally
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = backend or TritonBackend(settings.triton_grpc)  # a gRPC channel belongs to the running loop
        in_flight = InFlight(engines, settings.max_concurrent_requests, tally)
        heartbeat = Heartbeat(settings.sse_ping_interval_s)
        app.state.gateway = Gateway(settings, engines, in_flight, Metrics(tally), heartbeat)
        beating = asyncio.create_task(heartbeat.run())
        try:
            yield
        finally:
            beating.cancel()
            await in_flight.drain(settings.shutdown_grace_s)

    return lifespan
