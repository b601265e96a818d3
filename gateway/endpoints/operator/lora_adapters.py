"""vLLM's paths to load and unload LoRA adapters; `lora_name` is the name that clients ask for, NAME:ADAPTER."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from gateway.catalog.names import ModelName, read_name
from gateway.dialects.openai.envelope import OPENAI
from gateway.endpoints.operator.model_control import ordered
from gateway.http.errors import described
from gateway.state import Gateway, GatewayDep
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.steps import engine_name

Name = Annotated[str, Field(min_length=1, max_length=256)]


class LoadLoraAdapter(BaseModel):
    """`load_inplace`: an adapter of this name is replaced, once its open requests have ended."""

    model_config = ConfigDict(extra="forbid")

    lora_name: Name
    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]
    load_inplace: bool = False


class UnloadLoraAdapter(BaseModel):
    """`lora_int_id` is ignored, as in vLLM."""

    model_config = ConfigDict(extra="forbid")

    lora_name: Name
    lora_int_id: int | None = None


def add_lora_adapters(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    app.post("/v1/load_lora_adapter", tags=["admin"], responses=errors, response_class=PlainTextResponse)(load)
    app.post("/v1/unload_lora_adapter", tags=["admin"], responses=errors, response_class=PlainTextResponse)(unload)


async def load(body: LoadLoraAdapter, gateway: GatewayDep) -> str:
    """The same as POST /v1/models/{lora_name}/load with `path`, in vLLM's words."""
    name = _adapter(body.lora_name)
    if not body.load_inplace and await _is_loaded(gateway, name):
        cure = "If you want to load the adapter in place, set 'load_inplace' to True."
        raise InvalidRequest(f"The lora adapter '{body.lora_name}' has already been loaded. {cure}", "lora_name")
    await ordered(gateway, "load", body.lora_name, gateway.settings.shutdown_grace_s, body.lora_path)
    return f"Success: LoRA adapter '{body.lora_name}' added successfully."


async def unload(body: UnloadLoraAdapter, gateway: GatewayDep) -> str:
    """The same as POST /v1/models/{lora_name}/unload, in vLLM's words."""
    _adapter(body.lora_name)
    await ordered(gateway, "unload", body.lora_name, gateway.settings.shutdown_grace_s)
    return f"Success: LoRA adapter '{body.lora_name}' removed successfully."


def _adapter(text: str) -> ModelName:
    name = read_name(text)
    if not name.adapter:
        raise InvalidRequest(f"lora_name = {text!r}: must be NAME:ADAPTER, with the model that it adapts", "lora_name")
    return name


async def _is_loaded(gateway: Gateway, name: ModelName) -> bool:
    card = (await gateway.backend.models()).get(engine_name(name.base, name.version or 1))
    return card is not None and name.adapter in card.adapters
