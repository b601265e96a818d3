"""Where the deltas of one generation wait for the client that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.answers.backend import Delta, Generation
from gateway.triton.channels import Channel
from triton_repo.contract.errors import RequestError

# Characters that may wait for a client that does not read: of one generation, and of all together.
MAX_WAITING: Final = 4 * 2**20
MAX_ALL_WAITING: Final = 64 * 2**20


@dataclass(slots=True)
class Backlog:
    """Characters that wait in all inboxes."""

    num_waiting: int = 0


class Inbox(asyncio.Queue[Delta | RequestError]):
    """What arrived for one request, whose deltas travel on `channel`; a RequestError is the end of it.

    Attributes:
        triton_id: that of the request to Triton of which it is a row.
        num_waiting: characters of the deltas that wait here for a client that reads slowly.
    """

    def __init__(self, generation: Generation, channel: Channel, ended: Callable[[], None], backlog: Backlog) -> None:
        super().__init__()
        self._ended = ended
        self._backlog = backlog
        self.generation = generation
        self.channel = channel
        self.triton_id = generation.request_id
        self.num_waiting = 0

    def add(self, delta: Delta | RequestError) -> None:
        if isinstance(delta, Delta):
            self._count(_characters(delta))
            if delta.finish_reason:
                self._ended()
        self.put_nowait(delta)

    def end(self, error: RequestError) -> None:
        """End the request at once: what waits for a slow reader is dropped."""
        while not self.empty():
            self.get_nowait()
        self.drop()
        self.put_nowait(error)

    async def next(self) -> Delta | RequestError:
        delta = await self.get()
        if isinstance(delta, Delta):
            self._count(-_characters(delta))
        return delta

    def drop(self) -> None:
        """Nothing reads it any more."""
        self._count(-self.num_waiting)

    def _count(self, characters: int) -> None:
        self.num_waiting += characters
        self._backlog.num_waiting += characters


def _characters(delta: Delta) -> int:
    return len(delta.text) + len(delta.tokens) + len(delta.prompt)
