"""What the operator asks, with the admin key: GET /admin/status says who uses what, and what waits."""

from __future__ import annotations

from typing import Literal, cast

from fastapi import FastAPI
from typing_extensions import TypedDict

from gateway.admission.admission import EngineStatus
from gateway.dialects.openai.envelope import OPENAI
from gateway.http.auth import ADMIN_PATHS
from gateway.http.errors import described
from gateway.state import GatewayDep

# What the headers of its answers say, of a key that has limits.
Left = TypedDict(
    "Left",
    {
        "x-ratelimit-limit-requests": str,
        "x-ratelimit-limit-tokens": str,
        "x-ratelimit-remaining-requests": str,
        "x-ratelimit-remaining-tokens": str,
        "x-ratelimit-reset-requests": str,
        "x-ratelimit-reset-tokens": str,
    },
    total=False,
)


class KeyStatus(Left):
    priority: Literal["batch", "interactive"]
    models: list[str] | None
    open: int


class Status(TypedDict):
    keys: dict[str, KeyStatus]
    engines: dict[str, EngineStatus]


def add_status(app: FastAPI) -> None:
    app.get(ADMIN_PATHS + "/status", tags=["admin"], responses=described(OPENAI.error_model))(status)


async def status(gateway: GatewayDep) -> Status:
    """`waiting` and `drain_s` are those of the process that answers; the others of all processes."""
    keys: dict[str, KeyStatus] = {}
    for caller in gateway.keys.callers:
        quota = gateway.quotas.of(caller.name, caller.limits)
        keys[caller.name] = {
            "priority": "batch" if caller.batch else "interactive",
            "models": sorted(caller.models) if caller.models is not None else None,
            "open": quota.num_open,
            **cast("Left", quota.headers()),
        }
    return {"keys": keys, "engines": gateway.admission.status()}
