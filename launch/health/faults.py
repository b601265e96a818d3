"""Asks all that can find a fault of a running server, each on its own: one that waits for an answer delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Fault:
    """`why` ends a sentence; `engine` is the one that it is about, if it is about one alone."""

    why: str
    engine: str = ""


FindFault = Callable[[], Awaitable[Fault | None]]


async def first_fault(find_faults: Sequence[FindFault]) -> Fault:
    """Wait until one of them finds something."""
    watches = [asyncio.create_task(_watch(find_fault)) for find_fault in find_faults]
    try:
        done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for watch in watches:
            watch.cancel()


async def _watch(find_fault: FindFault) -> Fault:
    while True:
        await asyncio.sleep(POLL_S)
        with suppress(OSError):  # no files are left on this machine, say: that tells nothing about the server
            if fault := await find_fault():
                return fault
