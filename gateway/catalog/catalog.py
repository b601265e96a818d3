"""Finds the engine for the name of a model: the rules of the operator, applied to the engines that are ready now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.answers.backend import Backend
from gateway.catalog.listing import Listed, listed
from gateway.catalog.resolution import Resolution, resolve
from gateway.catalog.rules_file import RulesFile
from triton_repo.contract.errors import ModelNotFound
from triton_repo.contract.model_card import ModelCard


class Found(NamedTuple):
    resolution: Resolution
    card: ModelCard


@dataclass(frozen=True, slots=True)
class Catalog:
    backend: Backend
    rules: RulesFile

    def guess(self, requested: str, client: str = "") -> Resolution:
        """As far as it can be told without asking: `find` may know better."""
        return resolve(requested, self.rules.current(), self.backend.known(), client)

    async def find(self, requested: str, client: str = "") -> Found:
        """The engine that answers. `client` is who asks, as `client_of` says.

        Raises:
            ModelNotFound: none does, or it does not have the adapter.
            RequestError: Triton cannot tell.
        """
        found = self.guess(requested, client)
        if found.engine not in self.backend.known():
            found = resolve(requested, self.rules.current(), await self.backend.models(), client)
        try:
            card = await self.backend.card(found.engine)
        except ModelNotFound as error:
            raise (error if found.engine == requested else _not_found(found)) from None
        if found.adapter is not None and found.adapter not in card.adapters:
            raise _not_found(found)
        return Found(found, card)

    async def listed(self, client: str = "") -> Sequence[Listed]:
        return [*listed(self.rules.current(), await self.backend.models(), client)]


def _not_found(found: Resolution) -> ModelNotFound:
    return ModelNotFound(f"model {found.requested[:200]!r} does not exist or is not ready", "model")
