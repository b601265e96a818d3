"""What `launch` asks of the engines themselves, through Triton."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from typing import Final

from launch.kserve import TritonAccess
from triton_repo.contract.api_key import KSERVE_KEY_HEADER
from triton_repo.contract.errors import from_wire
from triton_repo.contract.health.model_orders import MAX_GRACE_S
from triton_repo.contract.http_probe import ProbeAnswer, probe
from triton_repo.contract.steps import step_model
from triton_repo.contract.tensors import REFRESH_ADAPTERS, STOP

_TIMEOUT_S: Final = MAX_GRACE_S + 3600.0  # the longest grace, and what opening adapters takes


class EngineCalls:
    """Of the engines of one tritonserver."""

    def __init__(self, access: TritonAccess) -> None:
        self._url = f"{access.http}/v2/models"
        self._headers = {KSERVE_KEY_HEADER: access.key} if access.key else {}

    async def refresh_adapters(self, engine: str) -> str | None:
        """Have it serve with the adapters on its shelf, however long that takes.

        Returns why it does not, "" where it does; None where Triton does not answer, or no longer.
        """
        url = f"{self._url}/{step_model(engine, 'engine')}/generate_stream"
        body = json.dumps({STOP.name: False, REFRESH_ADAPTERS: True}).encode()
        answer = await self._ask(url, body)
        if answer is None:
            return None
        return _reason(answer.body.removeprefix(b"data:")) if b'"error"' in answer.body or answer.status != 200 else ""

    async def _ask(self, url: str, body: bytes) -> ProbeAnswer | None:
        """On a thread of its own: of those of `asyncio.to_thread` there are few, and the watch over the servers needs
        them. Triton may answer after an hour, and of an engine that was lost never."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[ProbeAnswer | None] = loop.create_future()

        def tell(answer: ProbeAnswer | None) -> None:
            if not answered.cancelled():
                answered.set_result(answer)

        def work() -> None:
            answer = probe(url, body, _TIMEOUT_S, self._headers)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, answer)

        threading.Thread(target=work, name="engine-call", daemon=True).start()
        return await answered


def _reason(body: bytes) -> str:
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return "Triton gives no reason"
    error = from_wire(text)
    return text if error is None else error.message
