"""Takes orders for engines from the gateway's processes, on a socket that only this user can reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from launch.ports import check_socket
from triton_repo.contract.health.model_orders import MAX_BYTES, Order, Outcome

CarryOut = Callable[[Order], Awaitable[Outcome]]


@asynccontextmanager
async def taking_orders(socket: Path, carry_out: CarryOut) -> AsyncIterator[None]:
    """A connection brings one order and is answered when it is carried out, however long that takes.

    Raises:
        LaunchError: the path is too long for a socket.
    """
    check_socket(socket)
    open_orders: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            open_orders.add(task)
            task.add_done_callback(open_orders.discard)
        with suppress(ValueError, OSError):  # of what is no order, or of a gateway that has gone
            outcome = await carry_out(Order.from_bytes(await reader.readline()))
            writer.write(outcome.to_bytes())
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, socket, limit=MAX_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in open_orders:
            task.cancel()
        await asyncio.gather(*open_orders, return_exceptions=True)
