"""Which rows are computed next, together.

A computation holds rows of about the same length, since all are padded to the longest, and so few that it ends soon.
Where several requests wait, every other computation goes on with the one that has waited longest, and the others take
the shortest rows of all: neither does a large request stall small ones, nor do many small ones stall a large one.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from triton_repo.embed.texts import Tokens

Floats = NDArray[np.float32]


class Job:
    """The rows of one request, and what has been computed of them.

    Attributes:
        waiting: the rows that wait, by length.
        num_left: how many have no result yet.
        gone: whether nothing waits for the results any more; it costs a message to another process.
        begins: is called before the first of its rows is computed.
    """

    def __init__(
        self,
        tokens: Sequence[Tokens],
        gone: Callable[[], bool] = lambda: False,
        begins: Callable[[], None] = lambda: None,
    ) -> None:
        self.rows = [Row(self, index, each) for index, each in enumerate(tokens)]
        self.waiting = sorted(self.rows, key=_length)
        self.results: list[Floats | None] = [None] * len(tokens)
        self.num_left = len(tokens)
        self.gone = gone
        self.begins = begins


class Row:
    __slots__ = ("index", "job", "length", "tokens")

    def __init__(self, job: Job, index: int, tokens: Tokens) -> None:
        self.job = job
        self.index = index
        self.tokens = tokens
        self.length = len(tokens.ids)


_length = attrgetter("length")


class Schedule:
    """The rows that wait. `max_tokens` bounds rows × the longest of them, but for one row alone."""

    def __init__(self, max_rows: int, max_tokens: int) -> None:
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._jobs: dict[Job, None] = {}  # with rows that wait, oldest first
        self._rows: list[Row] = []  # of all of them, by length
        self._turn_of_the_oldest = True

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    def add(self, job: Job) -> None:
        self._jobs[job] = None
        for row in job.waiting:
            insort(self._rows, row, key=_length)

    def remove(self, job: Job) -> None:
        """What waits of it is not computed."""
        if self._jobs.pop(job, False) is None:
            self._rows = [row for row in self._rows if row.job is not job]
            job.waiting = []

    def oldest(self) -> Job | None:
        return next(iter(self._jobs), None)

    def next(self) -> list[Row]:
        """The rows to compute next, which do not wait any more; none where none waits."""
        oldest = self.oldest()
        if oldest is None:
            return []
        alone = len(self._jobs) == 1
        rows = self._from(oldest.waiting[-1]) if alone or self._turn_of_the_oldest else self._shortest()
        self._turn_of_the_oldest = alone or not self._turn_of_the_oldest
        self._take(rows)
        return rows

    def _from(self, longest: Row) -> list[Row]:
        """This row, and of those that are no longer the longest."""
        room = max(1, min(self._max_rows, self._max_tokens // longest.length))
        end = bisect_right(self._rows, longest.length, key=_length)
        others = [row for row in self._rows[max(0, end - room) : end] if row is not longest]
        return [longest, *others[: room - 1]]

    def _shortest(self) -> list[Row]:
        rows: list[Row] = []
        for row in self._rows[: self._max_rows]:
            if rows and (len(rows) + 1) * row.length > self._max_tokens:
                break
            rows.append(row)
        return rows

    def _take(self, rows: Sequence[Row]) -> None:
        taken = set(rows)
        self._rows = [row for row in self._rows if row not in taken]
        for row in rows:
            if len(row.job.waiting) == len(row.job.rows):
                row.job.begins()
            row.job.waiting.remove(row)
            if not row.job.waiting:
                del self._jobs[row.job]
