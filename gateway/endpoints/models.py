"""GET /v1/models, /v1/models/{id} and /v1/models/{id}/capabilities."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from gateway.admission.caller import ANYONE, CALLER, Caller
from gateway.dialects.anthropic.models import model_info, models_page
from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints.capabilities import Capabilities, capabilities
from gateway.endpoints.routes import is_anthropic
from gateway.http.errors import described
from gateway.state import GatewayDep
from triton_repo.contract.model_card import ModelCard


def add_models(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    app.get("/v1/models", tags=["models"], responses=errors)(list_models)
    app.get("/v1/models/{model:path}/capabilities", tags=["models"], responses=errors)(get_capabilities)
    app.get("/v1/models/{model:path}", tags=["models"], responses=errors)(get_model)


async def list_models(request: Request, gateway: GatewayDep) -> dict[str, Any]:
    """The chat page, `conch chat` and many other clients take the first one where the user names none.

    To Anthropic's clients, which send its version, in Anthropic's form.
    """
    caller = _caller(request)
    models = {name: card for name, card in (await gateway.backend.models()).items() if caller.may_use(name)}
    names = sorted(models, key=lambda name: (name != gateway.settings.first_model, name))
    if is_anthropic(request.scope):
        return models_page({name: models[name] for name in names}, request.query_params)
    return {"object": "list", "data": [_entry(name, models[name]) for name in names]}


async def get_model(model: str, request: Request, gateway: GatewayDep) -> dict[str, Any]:
    _caller(request).check_may_use(model)
    card = await gateway.backend.card(model)
    return model_info(model, card) if is_anthropic(request.scope) else _entry(model, card)


async def get_capabilities(model: str, request: Request, gateway: GatewayDep) -> Capabilities:
    """Which parameters a model honours, within which bounds, and which it rejects and why."""
    _caller(request).check_may_use(model)
    return capabilities(model, await gateway.backend.card(model))


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope.get(CALLER, ANYONE)
    return caller


def _entry(name: str, card: ModelCard) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": "conch",
        "max_model_len": card.max_seq_len,
        "runtime": card.runtime,
        "kind": card.kind,
    }
