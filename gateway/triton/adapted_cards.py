"""The cards of engines with the adapters that were loaded while they serve, which Triton knows nothing of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from triton_repo.contract.model_card import ModelCard


class AdaptedCards:
    """Asked for every request, it makes them anew only where one of the two has changed."""

    def __init__(self) -> None:
        self._made_of: tuple[Mapping[str, ModelCard], Mapping[str, Sequence[str]]] = ({}, {})
        self._cards: Mapping[str, ModelCard] = {}

    def cards(self, cards: Mapping[str, ModelCard], adapters: Mapping[str, Sequence[str]]) -> Mapping[str, ModelCard]:
        """By the name of the engine, as both arguments are."""
        if self._made_of[0] is not cards or self._made_of[1] is not adapters:
            self._cards = {name: _with(card, adapters.get(name, ())) for name, card in cards.items()}
            self._made_of = cards, adapters
        return self._cards


def _with(card: ModelCard, adapters: Sequence[str]) -> ModelCard:
    return replace(card, adapters=(*card.adapters, *adapters)) if adapters else card
