"""What `conch serve` answers to orders for engines, without the engines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.serving.control_socket import CarryOut, taking_orders


@contextmanager
def orders_taken(socket: Path, carry_out: CarryOut) -> Iterator[None]:
    """The real socket, in an event loop of its own."""
    taken, end = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def take() -> None:
        async with taking_orders(socket, carry_out):
            taken.set()
            await end.wait()

    def run() -> None:
        try:
            loop.run_until_complete(take())
        finally:
            taken.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert taken.wait(120)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(timeout=120)
        assert not thread.is_alive()
