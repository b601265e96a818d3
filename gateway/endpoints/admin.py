"""What the operator asks, with the admin key: GET /admin/status says who uses what, and what waits."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from gateway.http.auth import ADMIN_PATHS
from gateway.state import GatewayDep


def add_admin(app: FastAPI) -> None:
    app.get(ADMIN_PATHS + "status", tags=["admin"])(status)


async def status(gateway: GatewayDep) -> dict[str, Any]:
    """`waiting` and `drain_s` are those of the process that answers; the others of all processes."""
    keys = {}
    for caller in gateway.keys.callers:
        quota = gateway.quotas.of(caller.name, caller.limits)
        keys[caller.name] = {
            "priority": "batch" if caller.batch else "interactive",
            "models": sorted(caller.models) if caller.models is not None else None,
            "open": quota.num_open,
            **quota.headers(),
        }
    return {"keys": keys, "engines": gateway.admission.status()}
