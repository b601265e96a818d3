"""Asks `conch serve`, which runs Triton, to load or unload an engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

from triton_repo.contract.errors import EngineUnavailable
from triton_repo.contract.health.model_orders import MAX_BYTES, Order, Outcome


async def ask(socket: Path, order: Order) -> Outcome:
    """What came of it, however long that takes.

    Raises:
        EngineUnavailable: `conch serve` does not answer; whether the order is carried out is not known.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_BYTES)
        try:
            writer.write(order.to_bytes())
            await writer.drain()
            return Outcome.from_bytes(await reader.readline())
        finally:
            writer.close()
    except (OSError, ValueError):
        raise EngineUnavailable("conch serve does not answer") from None
