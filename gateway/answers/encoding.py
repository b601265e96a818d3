"""What an encoder makes of the texts of one request, whatever API asked: embeddings, scores, or classes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.admission.ticket import Ticket
from gateway.answers.backend import Backend, Encoded, Texts
from gateway.answers.events import FinalReason, Usage
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, RequestError
from triton_repo.contract.model_card import ModelCard
from triton_repo.embed.wire import MAX_ROWS, ROW_AT_FAULT, Options

MAX_TEXTS: Final = 2048  # of one request, as OpenAI's
MAX_ENCODINGS: Final = 64  # requests that one encoder gets at once: more wait here, where keys have their turns
_MAX_BYTES: Final = 1 << 16  # of the texts of one message, or one text of any size
_AT_ONCE: Final = 3  # messages of one request

Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EncodingRequest:
    """Texts in UTF-8, or pairs where there are `seconds`, or packed token ids.

    Attributes:
        kinds: of models that can do this.
        row_name: what an error calls a text, by its number.
        batch: it may wait for all requests that are not.
        id, traceparent: see `Texts`.
    """

    model: str
    kinds: tuple[str, ...]
    firsts: Sequence[bytes]
    seconds: Sequence[bytes] = ()
    are_ids: bool = False
    options: Options = field(default_factory=Options)
    row_name: Callable[[int], str] = "input[{}]".format
    batch: bool = False
    id: str = ""
    traceparent: str = ""

    @property
    def num_bytes(self) -> int:
        return sum(map(len, self.firsts)) + sum(map(len, self.seconds))

    @property
    def num_ids(self) -> int | None:
        return self.num_bytes // 4 if self.are_ids else None

    def texts(self, card: ModelCard, max_bytes: int) -> list[tuple[Texts, list[int]]]:
        """In messages, and the numbers of the rows in each. Those of about the same length go together.

        Raises:
            InvalidRequest: the model is of another kind, or they are too many.
        """
        card.check_kind(self.model, *self.kinds)
        name = self.row_name(0).partition("[")[0]
        if not 0 < len(self.firsts) <= MAX_TEXTS:
            raise InvalidRequest(f"{name}: has {len(self.firsts)} texts; 1 to {MAX_TEXTS} are allowed", name)
        if self.num_bytes > max_bytes:  # a query goes along with each document
            rule = f"all texts together may have {max_bytes} bytes, these have {self.num_bytes}"
            raise InvalidRequest(f"{name}: {rule}", name)
        return [(self._pick(rows), rows) for rows in self._messages()]

    def _messages(self) -> Iterator[list[int]]:
        sizes = [len(first) for first in self.firsts]
        if self.seconds:
            sizes = [size + len(second) for size, second in zip(sizes, self.seconds, strict=True)]
        rows: list[int] = []
        num_bytes = 0
        for row in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
            if rows and (len(rows) == MAX_ROWS or num_bytes + sizes[row] > _MAX_BYTES):
                yield rows
                rows, num_bytes = [], 0
            rows.append(row)
            num_bytes += sizes[row]
        yield rows

    def _pick(self, rows: Sequence[int]) -> Texts:
        seconds = [self.seconds[row] for row in rows] if self.seconds else ()
        firsts = [self.firsts[row] for row in rows]
        return Texts(self.model, firsts, self.options, seconds, self.are_ids, self.id, self.traceparent)


class Encoding:
    """One request that is being answered. Its opener closes it: `close` ends what an engine still does for it."""

    num_choices: Final = 1

    def __init__(
        self,
        backend: Backend,
        request: EncodingRequest,
        texts: Sequence[tuple[Texts, list[int]]],
        ticket: Ticket,
        released: Callable[[Encoding], None],
    ) -> None:
        self._backend = backend
        self._request = request
        self._texts = texts
        self._ticket = ticket
        self._released = released
        self._tasks: list[asyncio.Task[None]] = []
        self._results: dict[int, Encoded] = {}  # by message
        self._stopped: RequestError | None = None

    @property
    def finish_reason(self) -> FinalReason | None:
        return "stop" if len(self._results) == len(self._texts) else None

    @property
    def came_s(self) -> float:
        """When it asked for its turn, on the monotonic clock."""
        return self._ticket.came_s

    @property
    def waited_s(self) -> float | None:
        """How long it waited for its turn; None where that has not come."""
        return self._ticket.waited_s

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        return Usage(sum(encoded.num_tokens for encoded in self._results.values()), 0, None)

    async def numbers(self) -> Numbers:
        """[texts, width], in the order of the request. Single use.

        Raises:
            RequestError: a text is rejected, an engine failed, or the encoding was stopped.
        """
        await self._ticket.turn()
        waiting = iter(enumerate(self._texts))
        self._tasks = [asyncio.create_task(self._work(waiting)) for _ in range(min(_AT_ONCE, len(self._texts)))]
        try:
            await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            if self._stopped is not None:
                raise self._stopped from None
            raise
        if self._stopped is not None:  # between its turn and now
            raise self._stopped
        return self._in_order()

    def stop_engines(self, error: RequestError | None = None) -> None:
        """End the work on what has no result yet; `numbers` raises the error."""
        self._stopped = error or EngineUnavailable("the answer was stopped before it was complete")
        if self._ticket.waits:
            self._ticket.drop(self._stopped)
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._ticket.free()
        self._released(self)
        self._ticket.settle(self.usage.prompt_tokens, 0)

    async def _work(self, waiting: Iterator[tuple[int, tuple[Texts, list[int]]]]) -> None:
        for number, (texts, rows) in waiting:
            try:
                self._results[number] = await self._backend.encode(texts)
            except InvalidRequest as error:
                raise self._named(error, rows) from None

    def _named(self, error: InvalidRequest, rows: Sequence[int]) -> RequestError:
        """The error with the name that the row at fault has for the client."""
        found = ROW_AT_FAULT.match(error.message)
        if found is None:
            return error
        name = self._request.row_name(rows[int(found[1])])
        return type(error)(f"{name}: {error.message[found.end() :]}", name.partition("[")[0])

    def _in_order(self) -> Numbers:
        parts = [np.frombuffer(self._results[number].values, np.float32) for number in range(len(self._texts))]
        numbers = np.concatenate(parts)
        count = len(self._request.firsts)
        if not count or len(numbers) % count:
            raise EngineFailed("the engine failed")
        ordered = np.empty((count, len(numbers) // count), np.float32)
        ordered[[row for _, rows in self._texts for row in rows]] = numbers.reshape(ordered.shape)
        return ordered
