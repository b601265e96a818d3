"""The threads that compute what waits, and answer each request when its last row is done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from triton_repo.contract.errors import EngineFailed, EngineUnavailable, RequestError
from triton_repo.contract.health.liveness import Age
from triton_repo.embed.encoder import Compute
from triton_repo.embed.schedule import Floats, Job, Row, Schedule
from triton_repo.embed.texts import Tokens

logger = logging.getLogger(__name__)

MAX_WAITING_ROWS: Final = 1 << 16
_LOOK_S: Final = 0.25  # how often the oldest request is asked whether its client is still there

Answer = Callable[[Floats | RequestError], None]  # [rows, width]


class Worker:
    """`computes` are functions that compute some rows, one for each thread."""

    def __init__(self, computes: Sequence[Compute], max_rows: int, max_tokens: int) -> None:
        self._schedule = Schedule(max_rows, max_tokens)
        self._answers: dict[Job, Answer] = {}
        self._changed = threading.Condition()
        self._began_s: dict[int, float] = {}  # by thread: when its computation began
        self._age = Age()
        self._looked_s = 0.0
        self._closed = False
        self._threads = [threading.Thread(target=self._run, args=pair, daemon=True) for pair in enumerate(computes)]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        tokens: Sequence[Tokens],
        answer: Answer,
        gone: Callable[[], bool] = lambda: False,
        begins: Callable[[], None] = lambda: None,
    ) -> None:
        """Compute the rows; `begins` is called once if it is begun with, and `answer` in any case, by any thread.

        Raises:
            EngineUnavailable: so many wait already.
        """
        with self._changed:
            if self._closed:
                raise EngineUnavailable("the server is shutting down")
            if self._schedule.num_rows + len(tokens) > MAX_WAITING_ROWS:
                raise EngineUnavailable(f"{self._schedule.num_rows} texts wait already")
            job = Job(tokens, gone, begins)
            self._answers[job] = answer
            self._schedule.add(job)
            self._changed.notify(len(self._threads))

    def age_s(self) -> float:
        """Of the computation that has run longest; 0 if none runs."""
        return self._age.look(min(list(self._began_s.values()), default=None))

    def close(self) -> None:
        """What is being computed is answered, and what waits with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for job in list(self._answers):
            self._end(job, EngineUnavailable("the server is shutting down"))

    def _run(self, number: int, compute: Compute) -> None:
        while rows := self._next():
            self._began_s[number] = time.monotonic()
            try:
                result: Floats | RequestError = compute([row.tokens for row in rows])
            except Exception:  # the boundary of one computation: it fails its requests, and no others
                logger.exception("%d rows could not be computed", len(rows))
                result = EngineFailed("the text could not be encoded")
            del self._began_s[number]
            self._settle(rows, result)

    def _next(self) -> list[Row]:
        """Waits for it; empty at the end."""
        with self._changed:
            while not self._closed:
                if rows := self._schedule.next():
                    self._drop_what_is_gone()
                    return rows
                self._changed.wait()
        return []

    def _drop_what_is_gone(self) -> None:
        """Of the requests that wait the oldest, now and then: a client that left ends the work on its texts."""
        oldest = self._schedule.oldest()
        if oldest is None or time.monotonic() < self._looked_s + _LOOK_S:
            return
        self._looked_s = time.monotonic()
        if oldest.gone():
            self._end(oldest, EngineUnavailable("the client has left"))

    def _settle(self, rows: Sequence[Row], result: Floats | RequestError) -> None:
        done = []
        with self._changed:
            for index, row in enumerate(rows):
                if isinstance(result, RequestError):
                    done.append((row.job, result))
                    continue
                row.job.results[row.index] = result[index]
                row.job.num_left -= 1
                if not row.job.num_left:
                    done.append((row.job, np.stack(row.job.results)))  # type: ignore[arg-type]
        for job, outcome in done:
            self._end(job, outcome)

    def _end(self, job: Job, outcome: Floats | RequestError) -> None:
        with self._changed:
            self._schedule.remove(job)
            answer = self._answers.pop(job, None)
        if answer is not None:
            with suppress(Exception):  # it can only be that Triton has gone
                answer(outcome)
