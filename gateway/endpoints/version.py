"""GET /version, as vLLM has it, and /v1/version and /v1/metadata, as NVIDIA's NIM has them: what runs here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, NotRequired

from fastapi import FastAPI, Request
from typing_extensions import TypedDict

from gateway.dialects.openai.envelope import OPENAI
from gateway.http.auth import caller_of
from gateway.http.errors import described
from gateway.state import GatewayDep
from triton_repo.contract.distribution import conch_version
from triton_repo.contract.errors import RequestError

_API: Final = "1"  # of the paths below /v1


class Version(TypedDict):
    """`triton` is the version of the Triton behind this gateway, while one answers."""

    version: str
    triton: NotRequired[str]


class Release(TypedDict):
    release: str
    api: str


class ModelName(TypedDict):
    shortName: str
    modelUrl: str


class ServerMetadata(TypedDict):
    version: str
    modelInfo: list[ModelName]
    assetInfo: list[Any]


def add_version(app: FastAPI) -> None:
    errors = described(OPENAI.error_model)
    app.get("/version", tags=["models"], responses=errors)(version)
    app.get("/v1/version", tags=["models"], responses=errors)(release)
    app.get("/v1/metadata", tags=["models"], responses=errors)(metadata)


async def version(gateway: GatewayDep) -> Version:
    version: Version = {"version": conch_version()}
    with suppress(RequestError):
        if triton := await gateway.backend.others.server_version():
            version["triton"] = triton
    return version


async def release() -> Release:
    return {"release": conch_version(), "api": _API}


async def metadata(request: Request, gateway: GatewayDep) -> ServerMetadata:
    """The models that the caller may use. (Where a checkpoint came from may be a path of this machine.)"""
    caller = caller_of(request.scope)
    models = [one for one in await gateway.catalog.listed() if caller.may_use(*one.resolution.names)]
    infos: list[ModelName] = [{"shortName": one.id, "modelUrl": one.id} for one in models]
    return {"version": conch_version(), "modelInfo": infos, "assetInfo": []}
