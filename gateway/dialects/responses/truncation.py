"""The shorter forms of a conversation that does not fit into the context, from the longest to the shortest.

Whole turns of the oldest items are dropped first, so that what is left begins with a message of the user, as most chat
templates want it. Where the last turn alone is too long, its question stays and its oldest steps go. Instructions of
the system or developer stay always, and so do the call and its outputs, or none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

Item = Mapping[str, Any]

_SYSTEM: Final = ("system", "developer")


class Shortenings:
    """Number 0 lacks the fewest items; `len` is how many there are."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._question = max((index for index, item in enumerate(items) if _role(item) == "user"), default=-1)
        cuts = [cut for cut in _whole_cuts(items) if _role(items[cut]) not in _SYSTEM]
        turns = [cut for cut in cuts if _role(items[cut]) == "user"]
        self._cuts = turns + [cut for cut in cuts if cut > self._question + 1]

    def __len__(self) -> int:
        return len(self._cuts)

    def __getitem__(self, number: int) -> list[Item]:
        cut = self._cuts[number]
        return [
            item
            for index, item in enumerate(self._items)
            if index >= cut or _role(item) in _SYSTEM or index == self._question
        ]


async def longest(shortenings: Shortenings, fits: Callable[[Sequence[Item]], Awaitable[bool]]) -> list[Item] | None:
    """The longest one that fits, found by asking for a few: the logarithm of their number. None if none does."""
    low, high = 0, len(shortenings)
    while low < high:
        middle = (low + high) // 2
        if await fits(shortenings[middle]):
            high = middle
        else:
            low = middle + 1
    return shortenings[low] if low < len(shortenings) else None


def _whole_cuts(items: Sequence[Item]) -> list[int]:
    """Where the items may be cut into two: not between a call and its outputs, nor behind reasoning."""
    calls: dict[str, int] = {}
    changes = [0] * (len(items) + 1)  # in the number of pairs that a cut in front of each item would divide
    for index, item in enumerate(items):
        if item["type"].endswith("_output"):
            changes[calls.get(item["call_id"], index) + 1] += 1
            changes[index + 1] -= 1
        elif "call_id" in item:
            calls[item["call_id"]] = index
    divided = accumulate(changes)
    return [
        index
        for index, count in enumerate(divided)
        if 0 < index < len(items) and not count and items[index - 1]["type"] != "reasoning"
    ]


def _role(item: Item) -> str | None:
    return item.get("role")
