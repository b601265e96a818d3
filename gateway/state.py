"""What the routes share. The lifespan makes it, and routes get it as an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gateway.admission.admission import Admission
from gateway.admission.quota import Quotas
from gateway.answers.backend import Backend
from gateway.answers.byte_budget import ByteBudget
from gateway.answers.in_flight import InFlight
from gateway.batches.batch_store import BatchStore
from gateway.batches.runner import BatchRunner
from gateway.catalog.catalog import Catalog
from gateway.http.event_stream import Heartbeat
from gateway.http.keys import ApiKeys
from gateway.metrics.metrics import Metrics
from gateway.settings import Settings
from gateway.store.database import Database
from gateway.store.files import FileStore
from gateway.store.responses import ResponseStore
from gateway.store.work import Work


@dataclass(frozen=True, slots=True)
class Gateway:
    settings: Settings
    keys: ApiKeys
    backend: Backend
    catalog: Catalog
    admission: Admission
    quotas: Quotas
    in_flight: InFlight
    metrics: Metrics
    heartbeat: Heartbeat
    bodies: ByteBudget
    store: Database
    responses: ResponseStore
    work: Work
    files: FileStore
    batches: BatchStore
    batch_runner: BatchRunner


async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayDep = Annotated[Gateway, Depends(_gateway)]
