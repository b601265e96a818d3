"""GET /v1/models, /v1/models/{id} and /v1/models/{id}/capabilities."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI, Request
from typing_extensions import TypedDict

from gateway.catalog.listing import Listed, listed_as
from gateway.dialects.anthropic.envelope import ANTHROPIC
from gateway.dialects.anthropic.models import ModelInfo, ModelsPage, model_info, models_page
from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints.capabilities import Capabilities, capabilities
from gateway.endpoints.finding import found
from gateway.endpoints.routes import is_anthropic
from gateway.http.auth import caller_of
from gateway.http.errors import described
from gateway.http.request_id import REQUEST_ID
from gateway.state import Gateway, GatewayDep


class Model(TypedDict):
    """`kind` is what it does: generate, embed, rerank or classify."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["conch"]
    root: str
    parent: str | None
    max_model_len: int
    runtime: str
    kind: str


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[Model]


def add_models(app: FastAPI) -> None:
    errors = described(OPENAI.error_model | ANTHROPIC.error_model)
    app.get("/v1/models", tags=["models"], responses=errors)(list_models)
    app.get("/v1/models/{model:path}/capabilities", tags=["models"], responses=errors)(get_capabilities)
    app.get("/v1/models/{model:path}", tags=["models"], responses=errors)(get_model)


async def list_models(request: Request, gateway: GatewayDep) -> ModelList | ModelsPage:
    """The chat page, `conch chat` and many other clients take the first one where the user names none.

    To Anthropic's clients, which send its version, in Anthropic's form.
    """
    caller = caller_of(request.scope)
    models = [one for one in await gateway.catalog.listed(caller.name) if caller.may_use(*one.resolution.names)]
    models.sort(key=lambda one: one.id != gateway.settings.first_model)
    if is_anthropic(request.scope):
        return models_page({one.id: one.card for one in models}, request.query_params)
    return {"object": "list", "data": [_entry(one) for one in models]}


async def get_model(model: str, request: Request, gateway: GatewayDep) -> Model | ModelInfo:
    one = await _find(model, request, gateway)
    return model_info(model, one.card) if is_anthropic(request.scope) else _entry(one)


async def get_capabilities(model: str, request: Request, gateway: GatewayDep) -> Capabilities:
    """Which parameters a model honours, within which bounds, and which it rejects and why."""
    return capabilities(model, (await _find(model, request, gateway)).card)


async def _find(model: str, request: Request, gateway: Gateway) -> Listed:
    found_ = await found(gateway, model, {}, caller_of(request.scope), request.scope[REQUEST_ID])
    return listed_as(*found_)


def _entry(one: Listed) -> Model:
    """`root` and `parent` are vLLM's."""
    card = one.card
    return {
        "id": one.id,
        "object": "model",
        "created": card.created,
        "owned_by": "conch",
        "root": one.root,
        "parent": one.parent,
        "max_model_len": card.max_seq_len,
        "runtime": card.runtime,
        "kind": card.kind,
    }
