"""What the engines of one Triton server can do: their cards, read again when they may have changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb

from gateway.triton.errors import model_not_found, rpc_error
from triton_repo.contract.errors import EngineFailed, RequestError
from triton_repo.contract.model_card import CARD_PARAMETER, ModelCard

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 3.0
_MIN_INTERVAL_S: Final = 1.0  # cards are read at most so often, however many requests name models that are not there
_FRESH_S: Final = 10.0  # older cards are read again, while requests go on with them


class Cards:
    """Cards by the name of their engine. Everything raises RequestErrors, and nothing else, for what can go wrong."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._cards: dict[str, ModelCard] = {}
        self._read_s = float("-inf")  # when
        self._failure: RequestError | None = None
        self._reading = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None

    async def all(self) -> Mapping[str, ModelCard]:
        await self._refresh()
        return self._cards

    @property
    def known(self) -> Mapping[str, ModelCard]:
        return self._cards

    async def of(self, model: str) -> ModelCard:
        """Raises ModelNotFound if no engine of this name is ready."""
        card = self._cards.get(model)
        if card is None:
            await self._refresh()
            if model not in self._cards:
                raise model_not_found(model)
            return self._cards[model]
        if self._age_s > _FRESH_S and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self._refresh_in_background())
        return card

    def expire(self) -> None:
        """A model was unloaded or does not answer: the next request reads all cards first."""
        if self._age_s >= _MIN_INTERVAL_S:
            self._cards = {}

    def forget(self) -> None:
        """Triton does not answer any more: whatever is asked next finds that out first."""
        self._cards = {}
        self._read_s = float("-inf")

    def close(self) -> None:
        if self._background is not None:
            self._background.cancel()

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._read_s

    async def _refresh_in_background(self) -> None:
        with suppress(RequestError):  # it has been logged; the next request that fails expires the cards
            await self._refresh()

    async def _refresh(self) -> None:
        async with self._reading:
            if self._age_s >= _MIN_INTERVAL_S:
                try:
                    self._cards = await self._read_all()
                    self._failure = None
                except RequestError as error:
                    self._failure = error  # requests that wait for the lock need not each wait for a timeout too
                self._read_s = time.monotonic()
            if self._failure is not None:
                raise self._failure.with_traceback(None)

    async def _read_all(self) -> dict[str, ModelCard]:
        index = await self._checked(
            self._stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=_TIMEOUT_S)
        )
        cards = {model.name: await self._read(model.name) for model in index.models if model.state == "READY"}
        return {name: card for name, card in cards.items() if card is not None}

    async def _read(self, model: str) -> ModelCard | None:
        """The card of an ensemble of ours; None for anything else, the steps of our ensembles included."""
        try:
            response = await self._checked(
                self._stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=_TIMEOUT_S)
            )
        except EngineFailed:  # it was unloaded since it was listed
            return None
        if CARD_PARAMETER not in response.config.parameters:
            return None
        try:
            return ModelCard.from_json(response.config.parameters[CARD_PARAMETER].string_value)
        except ValueError as error:
            logger.warning("model %s has a card that cannot be read, built by another version? %s", model, error)
            return None

    async def _checked(self, reply: Awaitable[Any]) -> Any:
        """It is asked every second: of failures one after the other the first is logged."""
        try:
            return await reply
        except grpc.aio.AioRpcError as error:
            raise rpc_error(error, logging.WARNING if self._failure is None else logging.DEBUG) from None
