"""The application: routes, layers, and what lives as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gateway.admission.admission import Admission
from gateway.admission.quota import RETRY_HEADERS, Quotas
from gateway.admission.quota_headers import QuotaHeaders
from gateway.admission.tally import Tally
from gateway.answers.backend import Backend
from gateway.answers.byte_budget import ByteBudget
from gateway.answers.in_flight import InFlight
from gateway.batches.batch_store import BatchStore
from gateway.batches.runner import BatchRunner
from gateway.catalog.catalog import Catalog
from gateway.catalog.rules_file import RulesFile
from gateway.endpoints.batches import BatchAnswering, BatchRequest, add_batches
from gateway.endpoints.description import describe
from gateway.endpoints.encode import BODIES as ENCODER_BODIES
from gateway.endpoints.encode import add_encoders
from gateway.endpoints.files import add_files
from gateway.endpoints.generate import Generate
from gateway.endpoints.health import LIVE_PATHS, METRICS_PATHS, READY_PATHS, add_health
from gateway.endpoints.kserve import BODIES as KSERVE_BODIES
from gateway.endpoints.kserve import HEALTH_PATHS as KSERVE_HEALTH_PATHS
from gateway.endpoints.kserve import add_kserve
from gateway.endpoints.models import add_models
from gateway.endpoints.operator.lora_adapters import add_lora_adapters
from gateway.endpoints.operator.model_control import add_model_control
from gateway.endpoints.operator.status import add_status
from gateway.endpoints.responses.conversations import BODIES as CONVERSATION_BODIES
from gateway.endpoints.responses.conversations import add_conversations
from gateway.endpoints.responses.decisions import BODIES as DECISION_BODIES
from gateway.endpoints.responses.decisions import add_decisions
from gateway.endpoints.responses.kept import add_responses
from gateway.endpoints.routes import OPERATIONS, dialect_of
from gateway.endpoints.tokens import TOKEN_PATHS, add_tokens
from gateway.endpoints.version import add_version
from gateway.http.auth import RequireApiKey
from gateway.http.errors import ErrorResponses
from gateway.http.event_stream import Heartbeat
from gateway.http.full import RejectWhereFull
from gateway.http.host import CheckHost, is_loopback
from gateway.http.internal_errors import InternalErrors
from gateway.http.keys import ApiKeys
from gateway.http.page_files import add_pages
from gateway.http.request_id import RequestIdMiddleware
from gateway.http.spelling import CanonicalPath, HeadAsGet
from gateway.metrics.metrics import Metrics
from gateway.metrics.tracing.tracing import OtlpTracing
from gateway.pool.addresses import DNS, Addresses
from gateway.pool.pool import TritonPool
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.store.database import Database, store_file
from gateway.store.files import FileStore
from gateway.store.responses import ResponseStore
from gateway.store.room import Bounds
from gateway.store.work import Work
from gateway.triton.backend import TritonBackend
from triton_repo.contract.distribution import conch_version

_HEALTH_PATHS: Final = frozenset((*LIVE_PATHS, *READY_PATHS, *KSERVE_HEALTH_PATHS))
_CHECK_PATHS: Final = _HEALTH_PATHS.union(METRICS_PATHS)
# /metrics is open as vLLM's is: it tells names and counts, and a scraper needs no key. The description of the API is
# that of every Conch, and a browser that opens /docs has no key to send.
_OPEN_PATHS: Final = _CHECK_PATHS | {"/openapi.json"}


@dataclass(frozen=True, slots=True)
class Application:
    """The gateway: `asgi` is what a server runs, layers around `api`, whose routes answer all but generation."""

    asgi: ASGIApp
    api: FastAPI

    @property
    def gateway(self) -> Gateway:
        """What the routes share, while the lifespan lasts."""
        gateway: Gateway = self.api.state.gateway
        return gateway


def create_app(settings: Settings, backend: Backend | None = None, tally: Tally | None = None) -> Application:
    """The gateway; without a `backend` it talks to the Triton servers at `settings.triton_grpc`.

    A `tally` of open requests makes it one of several that share the bound on them.
    """
    keys = _keys(settings)
    api = FastAPI(
        title="Conch",
        version=conch_version(),
        description="OpenAI's API over Triton.",
        lifespan=_lifespan(settings, backend, tally or Tally(), keys),
        redirect_slashes=False,
        docs_url=None,  # FastAPI's pages load their scripts from the internet; /docs is one of ours
        redoc_url=None,
    )
    errors = ErrorResponses(dialect_of)
    errors.install(api)
    tokens = (path.body for path in TOKEN_PATHS.values())
    responses = (*CONVERSATION_BODIES, *DECISION_BODIES)
    describe(api, (*ENCODER_BODIES, *responses, *KSERVE_BODIES, BatchRequest, *tokens))
    add_models(api)
    add_responses(api)
    add_conversations(api)
    add_decisions(api)
    add_files(api)
    add_batches(api)
    add_encoders(api)
    add_health(api)
    add_tokens(api)
    add_version(api)
    add_status(api)
    add_model_control(api)
    add_lora_adapters(api)
    add_kserve(api)
    page_paths = add_pages(api)
    generate = Generate(HeadAsGet(api), OPERATIONS, api.state, errors)
    limited = QuotaHeaders(generate, lambda: api.state.gateway.quotas)
    return Application(_layers(limited, settings, keys, _OPEN_PATHS | set(page_paths), errors), api)


def _keys(settings: Settings) -> ApiKeys:
    api_key, admin_key = (one.get_secret_value() if one else None for one in (settings.api_key, settings.admin_key))
    return ApiKeys(api_key, settings.api_keys_file, admin_key)


def _layers(
    app: ASGIApp, settings: Settings, keys: ApiKeys, open_paths: frozenset[str], errors: ErrorResponses
) -> ASGIApp:
    """`app` in its layers; the last one is the outermost."""
    layers: ASGIApp = RequireApiKey(app, keys, open_paths, dialect_of, errors)
    if settings.allowed_hosts or is_loopback(settings.host):
        layers = CheckHost(layers, (*settings.allowed_hosts, settings.host), errors, dotless=not settings.allowed_hosts)
    layers = InternalErrors(RejectWhereFull(layers, _HEALTH_PATHS, errors), errors)
    if settings.cors_origins:
        layers = CORSMiddleware(
            layers,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # OpenAI's own client sends a dozen of its own; the origin is what is judged
            expose_headers=["x-request-id", "x-ignored-parameters", "x-should-retry", *RETRY_HEADERS],
        )
    return CanonicalPath(
        RequestIdMiddleware(layers, settings.access_log, _CHECK_PATHS, lambda scope: dialect_of(scope).id_headers)
    )


def _lifespan(
    settings: Settings, backend: Backend | None, tally: Tally, keys: ApiKeys
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engines = backend or _triton(settings)  # a gRPC channel belongs to the running loop
        with store_file(settings.store) as file:
            gateway = _gateway(settings, keys, engines, tally, Database(file))
            await gateway.responses.fail_orphans()
            app.state.gateway = gateway
            clock = asyncio.create_task(gateway.heartbeat.run())
            batch_work = asyncio.create_task(gateway.batch_runner.run(BatchAnswering(gateway)))
            try:
                yield
            finally:
                clock.cancel()
                await _end(batch_work)
                await gateway.in_flight.drain(settings.shutdown_grace_s)
                await gateway.work.close()
                await gateway.store.close()
                await asyncio.to_thread(gateway.metrics.close)

    return lifespan


def _gateway(settings: Settings, keys: ApiKeys, engines: Backend, tally: Tally, store: Database) -> Gateway:
    tracing = OtlpTracing(settings.otlp_endpoint) if settings.otlp_endpoint else None
    admission = Admission(settings.queue_timeout_s, tally, settings.max_key_share)
    max_answers, timeout_s = settings.max_concurrent_requests, settings.request_timeout_s
    bounds = Bounds(settings.store_max_responses, settings.store_max_bytes, settings.store_max_age_s)
    responses = ResponseStore(store, bounds)
    files = FileStore(store, settings.store_max_bytes)
    batches = BatchStore(store, settings.store_max_age_s)
    return Gateway(
        settings=settings,
        keys=keys,
        backend=engines,
        catalog=Catalog(engines, RulesFile(settings.catalog, settings.alias)),
        admission=admission,
        quotas=Quotas(tally),
        in_flight=InFlight(engines, admission, max_answers, tally, timeout_s),
        metrics=Metrics(settings, engines, tally, tracing),
        heartbeat=Heartbeat(settings.sse_ping_interval_s),
        bodies=ByteBudget(settings.max_waiting_bytes),
        store=store,
        responses=responses,
        work=Work(responses, settings.max_waiting_bytes),
        files=files,
        batches=batches,
        batch_runner=BatchRunner(batches, files, settings.max_body_bytes, settings.queue_timeout_s),
    )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _triton(settings: Settings) -> Backend:
    key = settings.triton_key.get_secret_value() if settings.triton_key else None

    def connect(address: str, states_file: Path | None = None) -> TritonBackend:
        return TritonBackend(address, key, settings.max_waiting_bytes, states_file)

    addresses, file = settings.triton_grpc, settings.triton_servers_file
    if file is None and len(addresses) == 1 and not addresses[0].startswith(DNS):
        return connect(addresses[0], settings.engine_states_file)
    return TritonPool(Addresses(addresses, file), connect)
