"""Models that are no engines of Conch, of several Triton servers: each request goes to one that has its model."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from gateway.answers.inference.models import (
    Inference,
    Inferred,
    Json,
    ModelVersion,
    OtherModels,
    other_model_not_found,
)
from gateway.pool.member import Member
from triton_repo.contract.errors import EngineUnavailable, ModelNotFound, RequestError

T = TypeVar("T")


class PooledModels:
    """`members` gives those servers that may get requests."""

    def __init__(self, members: Callable[[], Iterable[Member]]) -> None:
        self._members = members

    async def metadata(self, model: ModelVersion) -> Json:
        return await self._first(model, self._by_load(), lambda models: models.metadata(model))

    async def configuration(self, model: ModelVersion) -> Json:
        return await self._first(model, self._by_load(), lambda models: models.configuration(model))

    async def statistics(self, model: ModelVersion) -> Json:
        return await self._first(model, self._by_load(), lambda models: models.statistics(model))

    async def is_ready(self, model: ModelVersion) -> bool:
        for member in self._by_load():
            try:
                if await member.backend.others.is_ready(model):
                    return True
            except RequestError:  # that server is down; another may have it
                continue
        return False

    async def infer(self, inference: Inference) -> Inferred:
        """All of a sequence goes to one server, which keeps its state, as long as that is there."""
        members = self._by_load()
        if sequence := inference.sequence:
            members = sorted(members, key=lambda member: zlib.crc32(f"{sequence} {member.address}".encode()))[:1]
        return await self._first(inference.model, members, lambda models: models.infer(inference))

    async def server_version(self) -> str:
        """All are asked at once: those that hang take no longer than one of them."""
        asked = [asyncio.ensure_future(member.backend.others.server_version()) for member in self._members()]
        try:
            for answer in asyncio.as_completed(asked):
                with suppress(RequestError):  # that server is down
                    return await answer
            return ""
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _by_load(self) -> list[Member]:
        return sorted(self._members(), key=lambda member: member.num_open)

    async def _first(
        self, model: ModelVersion, members: Iterable[Member], ask: Callable[[OtherModels], Awaitable[T]]
    ) -> T:
        """What the first server answers that has the model and room for the request."""
        failure: RequestError | None = None
        for member in members:
            release = member.take(0)
            try:
                return await ask(member.backend.others)
            except (ModelNotFound, EngineUnavailable) as error:
                failure = error if failure is None or isinstance(failure, ModelNotFound) else failure
            finally:
                release()
        raise failure or other_model_not_found(model)
