"""A bound on the bytes that large requests hold at the same time, wherever each of them may hold many."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from triton_repo.contract.errors import EngineUnavailable

_SMALL: Final = 2**16  # bytes; a share that is no larger does not count


class ByteBudget:
    """At most `max_bytes` in all shares together, or one share of any size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0

    def share(self) -> Share:
        return Share(self)

    def change(self, held: int, wanted: int) -> int:
        """The bytes that a share with `held` now has.

        Raises:
            EngineUnavailable: it wants more, and other shares leave no room.
        """
        wanted = wanted if wanted > _SMALL else 0
        others = self._num_bytes - held
        if wanted > held and others and others + wanted > self._max_bytes:
            raise EngineUnavailable("the server is busy with large requests")
        self._num_bytes = others + wanted
        return wanted


class Share:
    """What one request holds of a budget; nothing after the block in which it is entered."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held = 0

    def set(self, num_bytes: int) -> None:
        """
        Raises:
            EngineUnavailable: the budget has no room for as many.
        """
        self._held = self._budget.change(self._held, num_bytes)

    def __enter__(self) -> Share:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.set(0)
