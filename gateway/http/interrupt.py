"""A block of work that others may end, by an error of theirs."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Interruptible:
    """`async with Interruptible() as work:` ends with the error that `work.interrupt` is given.

    The task that runs the block is cancelled, and the block raises the error in place of the cancellation.
    """

    async def __aenter__(self) -> Self:
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._error: Exception | None = None
        self._cancels_before = _cancels(self._task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        interruption, self._error = self._error, None
        if interruption is None:
            return
        if kind is None:  # the block ended by itself while its cancellation was on the way: it is still to be caught
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                kind = asyncio.CancelledError
        if task is not None and hasattr(task, "uncancel"):  # Python 3.11
            task.uncancel()
        if kind is asyncio.CancelledError and _cancels(task) <= self._cancels_before:  # else somebody else cancels too
            try:
                raise interruption from None
            finally:
                del interruption  # it knows this frame by its traceback: a cycle, with all of the request in it

    def interrupt(self, error: Exception) -> None:
        """From the same event loop. Only the first error counts, and none after the block's end."""
        if self._error is None and self._task is not None:
            self._error = error
            self._task.cancel()


def _cancels(task: asyncio.Task[Any] | None) -> int:
    """How often the task was asked to end and did not take note; Python 3.10 does not count."""
    return task.cancelling() if task is not None and hasattr(task, "cancelling") else 0
