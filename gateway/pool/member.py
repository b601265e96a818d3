"""One of several Triton servers: what it serves, how much it has to do, and whether it may get more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from gateway.triton.backend import TritonBackend
from triton_repo.contract.errors import RequestError
from triton_repo.contract.model_card import ModelCard

logger = logging.getLogger(__name__)

_CHECK_S: Final = 1.0
SILENT_S: Final = 10.0  # after which what a server still has is taken for lost


class Member:
    """Created inside the event loop that uses it; it asks what it serves until it is closed.

    Args:
        changed: is called when it has other `cards`.

    Attributes:
        cards: of the engines that are ready there; none while it is down.
        is_down: it did not answer when it was last asked.
        leaves: it is no longer listed, and gets nothing more.
        num_open: requests that it has.
    """

    def __init__(self, address: str, backend: TritonBackend, changed: Callable[[], None]) -> None:
        self.address = address
        self.backend = backend
        self.cards: Mapping[str, ModelCard] = {}
        self.is_down = False
        self.leaves = False
        self.num_open = 0
        self._changed = changed
        self._lost: set[str] = set()
        self._work = 0
        self._answered_s = time.monotonic()
        self._is_known = asyncio.Event()
        self._watching = asyncio.create_task(self._watch())

    async def known(self) -> None:
        """Return once it has been asked."""
        await self._is_known.wait()

    async def close(self) -> None:
        self._watching.cancel()
        await self.backend.close()

    def lose(self, model: str) -> None:
        """Give this engine nothing until the server says again that it is there."""
        self._lost.add(model)

    def may_have(self, model: str) -> bool:
        """Whether it serves this engine, or may again."""
        return self.is_down or model in self.cards

    def can_serve(self, model: str) -> bool:
        if self.leaves or model not in self.cards or model in self._lost:
            return False
        with suppress(RequestError):
            self.backend.check_progress(model)
            return True
        return False

    def load(self, model: str) -> float:
        """Tokens that it has to do, for each sequence that the engine works on at once."""
        return self._work / (self.cards[model].max_batch_size or 1)

    def take(self, work: int) -> Callable[[], None]:
        """Count `work` tokens as its own until what is returned is called; more calls of that do nothing."""
        self.num_open += 1
        self._work += work
        is_open = True

        def release() -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self.num_open -= 1
                self._work -= work

        return release

    async def _watch(self) -> None:
        while True:
            await self._check()
            self._is_known.set()
            await asyncio.sleep(_CHECK_S)

    async def _check(self) -> None:
        try:
            cards = await self.backend.models()
        except RequestError as error:
            if not self.is_down:
                logger.warning("Triton at %s gets no requests: %s", self.address, error)
            self._have({}, is_down=True)
            if time.monotonic() - self._answered_s > SILENT_S:
                self.backend.lose_requests()
            return
        if self.is_down:
            logger.info("Triton at %s is back", self.address)
        self._answered_s = time.monotonic()
        self._have(cards, is_down=False)
        self._lost.clear()

    def _have(self, cards: Mapping[str, ModelCard], *, is_down: bool) -> None:
        self.is_down = is_down
        if cards != self.cards:
            self.cards = cards
            self._changed()
