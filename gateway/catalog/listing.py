"""What a list of models shows: names, their versions, aliases, and adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.catalog.resolution import Resolution, resolve, versions_of
from gateway.catalog.rules import Rules
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.steps import engine_version


@dataclass(frozen=True, slots=True)
class Listed:
    """One name, as vLLM lists it: `root` is what it stands for, `parent` the model that an adapter belongs to."""

    resolution: Resolution
    card: ModelCard
    root: str
    parent: str | None = None

    @property
    def id(self) -> str:
        return self.resolution.requested


def listed_as(resolution: Resolution, card: ModelCard) -> Listed:
    if resolution.adapter is None:
        return Listed(resolution, card, root=resolution.engine)
    return Listed(resolution, card, root=resolution.adapter, parent=resolution.name)


def listed(rules: Rules, cards: Mapping[str, ModelCard], client: str) -> Iterator[Listed]:
    """All names under which the engines of the `cards` answer, each once, in an order that stays."""
    for name in _names(rules, cards):
        found = resolve(name, rules, cards, client)
        card = cards.get(found.engine)
        if card is not None and found.adapter in (None, *card.adapters):
            yield listed_as(found, card)


def _names(rules: Rules, cards: Mapping[str, ModelCard]) -> Iterator[str]:
    """Those of models, of their versions where they have others than 1, of their adapters, and aliases."""
    every = versions_of(cards)
    for name in sorted(every):
        yield name
        if set(every[name]) != {1}:
            yield from (f"{name}@{version}" for version in sorted(every[name]))
        ours = [card for engine, card in cards.items() if engine_version(engine)[0] == name]
        adapters = {adapter for card in ours for adapter in card.adapters}
        yield from (f"{name}:{adapter}" for adapter in sorted(adapters))
    yield from (alias for alias in sorted(rules.aliases) if alias not in every)
