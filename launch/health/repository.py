"""Triton's own API to load and unload models, which only `launch` uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final

from launch.kserve import TritonAccess
from triton_repo.contract.api_key import KSERVE_KEY_HEADER
from triton_repo.contract.http_probe import probe

LOAD_TIMEOUT_S: Final = 900.0

_TRACEBACK: Final = "\n\nAt:"  # of a Python model's error, in the words of its binding


class ModelRepository:
    """Of one tritonserver."""

    def __init__(self, access: TritonAccess) -> None:
        self._url = f"{access.http}/v2/repository"
        self._headers = {KSERVE_KEY_HEADER: access.key} if access.key else {}

    async def load(self, models: Iterable[str]) -> str | None:
        """All of them at once; why that failed, None where it did not."""
        return await self._call_all("load", models)

    async def unload(self, models: Iterable[str]) -> str | None:
        """Triton goes on with what their requests need until those have ended."""
        return await self._call_all("unload", models)

    async def states(self) -> dict[str, str]:
        """Of the models that have been loaded, `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`."""
        answer = await asyncio.to_thread(probe, f"{self._url}/index", b"{}", headers=self._headers)
        listed: Any = json.loads(answer.body) if answer is not None and answer.status == 200 else []
        return {model["name"]: model["state"] for model in listed if "state" in model}

    async def _call_all(self, verb: str, models: Iterable[str]) -> str | None:
        failures = await asyncio.gather(*(self._call(verb, model) for model in models))
        return next(filter(None, failures), None)

    async def _call(self, verb: str, model: str) -> str | None:
        url = f"{self._url}/models/{model}/{verb}"
        answer = await asyncio.to_thread(probe, url, b"{}", LOAD_TIMEOUT_S, self._headers)
        if answer is None:
            return "Triton does not answer"
        return None if answer.status == 200 else _reason(answer.body)


def _reason(body: bytes) -> str:
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return "Triton gives no reason"
    return text.partition(_TRACEBACK)[0].strip()
