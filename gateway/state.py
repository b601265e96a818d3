"""What the routes share. The lifespan makes it, and routes get it as an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request

from gateway.admission.admission import Admission
from gateway.admission.quota import Quotas
from gateway.answers.backend import Backend
from gateway.answers.byte_budget import ByteBudget
from gateway.answers.in_flight import InFlight
from gateway.batches.batch_store import BatchStore
from gateway.batches.runner import BatchRunner
from gateway.catalog.catalog import Catalog
from gateway.http.auth import caller_of
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


def owner_of(request: Request) -> str:
    """The name of the key that asks: what it keeps, it alone sees."""
    return caller_of(request.scope).name


async def _count(request: Request, gateway: GatewayDep) -> None:
    caller = caller_of(request.scope)
    gateway.quotas.of(caller.name, caller.limits).take_request()


# Of a route that keeps what it is sent: it takes one from the requests per minute of its caller. Reading, cancelling
# and deleting take none, so that clients may look as often as they like, and can always make room.
COUNTED: Final = (Depends(_count),)
