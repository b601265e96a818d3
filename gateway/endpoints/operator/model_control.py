"""What the operator asks of engines, with the admin key: POST /v1/models/{id}/load and /unload, GET /admin/models."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import Body, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from gateway.catalog.names import ModelName, read_name
from gateway.catalog.orders import ask
from gateway.dialects.openai.envelope import OPENAI
from gateway.http.auth import ADMIN_PATHS
from gateway.http.errors import described
from gateway.state import Gateway, GatewayDep
from triton_repo.contract.errors import EngineFailed, InvalidRequest, ModelNotFound, RequestError
from triton_repo.contract.health.engine_states import LOADED, EngineStates, read_states
from triton_repo.contract.health.model_orders import MAX_GRACE_S, Order, Outcome, Verb
from triton_repo.contract.steps import engine_name

State = Literal["loaded", "loading", "unloading", "unloaded"]


class LoadBody(BaseModel):
    """Of an order for an adapter; that for an engine has none."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=4096)


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


async def load(model: str, gateway: GatewayDep, what: Annotated[LoadBody | None, Body()] = None) -> Engine:
    """Load an engine, NAME or NAME@VERSION: version 1 where none is named. Answered once it serves, or has failed.

    Or an adapter, NAME:ADAPTER or NAME@VERSION:ADAPTER, of the directory `path`: an absolute one, or relative to
    `--adapters-directory`, below which it lies. One of that name is replaced, once its open requests have ended.
    """
    return await ordered(gateway, "load", model, gateway.settings.shutdown_grace_s, what.path if what else "")


async def unload(
    model: str, gateway: GatewayDep, grace_s: Annotated[float | None, Query(ge=0, le=MAX_GRACE_S)] = None
) -> Engine:
    """Unload an engine, or an adapter, once its open requests have ended.

    Within `grace_s`, by default the grace of a shutdown.
    """
    return await ordered(gateway, "unload", model, gateway.settings.shutdown_grace_s if grace_s is None else grace_s)


async def states(gateway: GatewayDep) -> EngineList:
    """Every engine that is held and every adapter, and what it is: loaded, loading, unloading or unloaded."""
    cards, said = await gateway.backend.models(), _states(gateway)
    adapters = (f"{name}:{adapter}" for name, card in cards.items() for adapter in card.adapters)
    moving = {f"{name}:{each}": state for name, of in said.adapters.items() for each, state in of.items()}
    every = {**dict.fromkeys((*cards, *adapters), LOADED), **said.absent}
    every |= {name: state for name, state in moving.items() if state != LOADED}
    return {"object": "list", "data": [_entry(engine, every[engine]) for engine in sorted(every)]}


async def ordered(gateway: Gateway, verb: Verb, model: str, grace_s: float, path: str = "") -> Engine:
    socket, name = gateway.settings.orders_socket, read_name(model)
    if socket is None or not socket.exists():
        rule = "by conch serve with --model-control explicit, on the machine of its one Triton"
        raise ModelControlUnavailable(f"engines and adapters are loaded and unloaded {rule}")
    if verb == "load":
        _check_path(name, path)
    engine = engine_name(name.base, name.version or 1)
    entry = f"{engine}:{name.adapter}" if name.adapter else engine
    outcome = await ask(socket, Order(verb, engine, grace_s, name.adapter or "", path))
    _check_outcome(outcome, verb, model)
    if name.adapter:
        return _entry(entry, LOADED if verb == "load" else "unloaded")
    return _entry(entry, _states(gateway).absent.get(engine, LOADED))


def _check_path(name: ModelName, path: str) -> None:
    if name.adapter and not path:
        raise InvalidRequest("path: must be the directory of the adapter", "path")
    if path and not name.adapter:
        raise InvalidRequest("path: only an adapter, NAME:ADAPTER, is loaded from a directory", "path")


def _check_outcome(outcome: Outcome, verb: Verb, model: str) -> None:
    shown = f"model {model[:200]!r}"
    if not outcome.known:
        raise ModelNotFound(f"{shown}: conch serve has no such {'adapter' if ':' in model else 'engine'}", "model")
    if not outcome.fits:
        raise ModelDoesNotFit(f"{shown}: {outcome.failure}", "model")
    if not outcome.allowed:
        raise InvalidRequest(f"{shown}: {outcome.failure}", "path" if verb == "load" else "model")
    if outcome.failure is not None:
        raise ModelLoadFailed(f"{shown}: {verb} failed: {outcome.failure}", "model")


def _states(gateway: Gateway) -> EngineStates:
    file = gateway.settings.engine_states_file
    return read_states(file) if file is not None else EngineStates()


def _entry(engine: str, state: str) -> Engine:
    return {"id": engine, "object": "model", "state": cast("State", state)}
