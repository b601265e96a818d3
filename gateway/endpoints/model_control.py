"""What the operator asks of engines, with the admin key: POST /v1/models/{id}/load and /unload, GET /admin/models."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import FastAPI, Query
from typing_extensions import TypedDict

from gateway.catalog.names import read_name
from gateway.catalog.orders import ask
from gateway.dialects.openai.envelope import OPENAI
from gateway.http.auth import ADMIN_PATHS
from gateway.http.errors import described
from gateway.state import Gateway, GatewayDep
from triton_repo.contract.errors import EngineFailed, InvalidRequest, ModelNotFound, RequestError
from triton_repo.contract.health.engine_states import EngineStates, read_states
from triton_repo.contract.health.model_orders import MAX_GRACE_S, Order, Verb
from triton_repo.contract.steps import engine_name

State = Literal["loaded", "loading", "unloading", "unloaded"]


class Engine(TypedDict):
    id: str
    object: Literal["model"]
    state: State


class EngineList(TypedDict):
    object: Literal["list"]
    data: list[Engine]


class ModelControlUnavailable(InvalidRequest):
    code = "model_control_unavailable"


class ModelDoesNotFit(RequestError):
    status = 409
    type = "invalid_request_error"
    code = "model_does_not_fit"


class ModelLoadFailed(EngineFailed):
    code = "model_load_failed"


def add_model_control(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    app.post("/v1/models/{model:path}/load", tags=["admin"], responses=errors)(load)
    app.post("/v1/models/{model:path}/unload", tags=["admin"], responses=errors)(unload)
    app.get(ADMIN_PATHS + "/models", tags=["admin"], responses=errors)(states)


async def load(model: str, gateway: GatewayDep) -> Engine:
    """Load an engine, NAME or NAME@VERSION: version 1 where none is named. Answered once it serves, or has failed."""
    return await _ordered(gateway, "load", model, 0.0)


async def unload(
    model: str, gateway: GatewayDep, grace_s: Annotated[float | None, Query(ge=0, le=MAX_GRACE_S)] = None
) -> Engine:
    """Unload an engine, once its open requests have ended: within `grace_s`, by default the grace of a shutdown."""
    return await _ordered(gateway, "unload", model, gateway.settings.shutdown_grace_s if grace_s is None else grace_s)


async def states(gateway: GatewayDep) -> EngineList:
    """Every engine that is held, and what it is: loaded, loading, unloading or unloaded."""
    known = dict.fromkeys(await gateway.backend.models(), "loaded")
    every = {**known, **_states(gateway).absent}
    return {"object": "list", "data": [_entry(engine, every[engine]) for engine in sorted(every)]}


async def _ordered(gateway: Gateway, verb: Verb, model: str, grace_s: float) -> Engine:
    socket, name = gateway.settings.orders_socket, read_name(model)
    if socket is None or not socket.exists():
        raise ModelControlUnavailable("engines are loaded and unloaded by conch serve with --model-control explicit")
    if name.adapter is not None:
        rule = "an engine is loaded with all the adapters that its spec lists; name the engine"
        raise ModelControlUnavailable(f"model {model[:200]!r}: {rule}", "model")
    engine = engine_name(name.base, name.version or 1)
    outcome = await ask(socket, Order(verb, engine, grace_s))
    if not outcome.known:
        raise ModelNotFound(f"model {model[:200]!r}: conch serve has no such engine", "model")
    if not outcome.fits:
        raise ModelDoesNotFit(f"model {model[:200]!r}: {outcome.failure}", "model")
    if outcome.failure is not None:
        raise ModelLoadFailed(f"model {model[:200]!r}: {verb} failed: {outcome.failure}", "model")
    return _entry(engine, _states(gateway).absent.get(engine, "loaded"))


def _states(gateway: Gateway) -> EngineStates:
    file = gateway.settings.engine_states_file
    return read_states(file) if file is not None else EngineStates()


def _entry(engine: str, state: str) -> Engine:
    return {"id": engine, "object": "model", "state": cast("State", state)}
