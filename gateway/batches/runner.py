"""Works on the batches that no other process works on: reads their lines, has them answered, writes their files.

A batch goes on where it was after its process has ended, with the lines that have no output yet.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any, Final, Protocol

import orjson

from gateway.admission.caller import Caller
from gateway.admission.errors import RateLimitExceeded
from gateway.batches.batch import Batch, BatchUsage, LineError
from gateway.batches.batch_store import BatchStore, Held
from gateway.batches.lines import Line, answered, failed, not_run, numbered, read_line
from gateway.store.errors import StoreFull
from gateway.store.files import FileStore
from triton_repo.contract.errors import AuthenticationFailed, EngineFailed, EngineUnavailable, RequestError

logger = logging.getLogger(__name__)

MAX_LINES: Final = 50_000
MAX_BATCHES: Final = 4  # that one process works on at once

_MAX_ERRORS: Final = 100  # of an input file, that are listed
_LINES_AT_ONCE: Final = 64  # in one transaction
_LOOK_S: Final = 1.0


class Answering(Protocol):
    """How the requests of batches are answered."""

    async def capacity(self, model: str) -> int:
        """How many to have answered at once."""

    def caller(self, name: str) -> Caller | None:
        """Whose key has this name; None if there is no such key any more."""

    async def answer(
        self, endpoint: str, fields: dict[str, Any], caller: Caller, id: str, *, behind_others: bool
    ) -> bytes:
        """The body of the answer; one that is not `behind_others` has its turns with the requests of clients.

        Raises:
            RequestError
        """


class BatchRunner:
    """`max_line_bytes` is the bound on one request. One without a turn for `patience_s` is behind others no longer."""

    def __init__(self, batches: BatchStore, files: FileStore, max_line_bytes: int, patience_s: float) -> None:
        self._batches = batches
        self._files = files
        self._max_line_bytes = max_line_bytes
        self._patience_s = patience_s
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is a new batch."""
        self._wake.set()

    async def run(self, answering: Answering) -> None:
        """Until it is cancelled, which leaves what it works on to other processes, or to the next start."""
        try:
            while True:
                self._wake.clear()
                while len(self._running) < MAX_BATCHES and (held := await self._claim()) is not None:
                    task = asyncio.create_task(self._work(held, answering))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LOOK_S)
        finally:
            await _cancel([*self._running])

    async def _claim(self) -> Held | None:
        try:
            return await self._batches.claim()
        except RequestError:  # the store has logged it
            return None

    async def _work(self, held: Held, answering: Answering) -> None:
        id = held.batch.id
        try:
            batch = held.batch
            if batch.status == "validating":
                batch = await self._validate(held)
            if batch.status == "in_progress":
                await self._answer_lines(held, batch, answering)
            await self._finish(held)
        except StoreFull as error:
            full = LineError(code=error.code or "", message=error.message)
            await self._batches.change(id, lambda batch: batch.failed_with(full))
        except RequestError as error:
            logger.warning("batch %s: %s; it is taken up again", id, error)
            await asyncio.sleep(_LOOK_S)
        except Exception:  # a process boundary: other batches go on
            logger.exception("batch %s failed", id)
            bug = LineError(code="server_error", message="internal error")
            with suppress(RequestError):
                await self._batches.change(id, lambda batch: batch.failed_with(bug))
        finally:
            with suppress(RequestError):
                await self._batches.release(id)

    async def _validate(self, held: Held) -> Batch:
        """Read the lines of the input file; the batch fails if one of them is no request."""
        id, endpoint = held.batch.id, held.batch.endpoint
        await self._batches.remove_lines(id)  # of a process that has ended while it read them
        errors: list[LineError] = []
        total, model = 0, None
        lines: list[Line] = []
        async for number, text in numbered(self._files.content(held.batch.input_file_id), self._max_line_bytes):
            line = text if isinstance(text, LineError) else read_line(number, text, endpoint)
            if isinstance(line, Line):
                model = model or _model(line)
                total += 1
                lines.append(line)
            elif line is not None:
                errors.append(line)
            if len(lines) == _LINES_AT_ONCE:
                errors += await self._batches.add_lines(id, lines)
                lines = []
            if len(errors) >= _MAX_ERRORS or total > MAX_LINES:
                break
        errors += await self._batches.add_lines(id, lines)
        if total > MAX_LINES:
            errors.append(LineError(code="too_many_tasks", message=f"a batch may have at most {MAX_LINES} requests"))
        if not total and not errors:
            errors.append(LineError(code="empty_file", message="the input file is deleted, or has no requests"))
        if errors:
            return await self._batches.change(id, lambda batch: batch.failed_with(*errors[:_MAX_ERRORS]))
        return await self._batches.change(id, lambda batch: batch.validated(total, model))

    async def _answer_lines(self, held: Held, batch: Batch, answering: Answering) -> None:
        """Until all are answered, or the batch is cancelled or its time is over."""
        lines, turn = self._batches.open_lines(batch.id), asyncio.Lock()

        async def answer_next() -> None:
            while True:
                async with turn:
                    line = await anext(lines, None)
                if line is None:
                    return
                await self._answer_line(held, line, answering)

        num_at_once = await answering.capacity(batch.model or "")
        workers = [asyncio.create_task(answer_next()) for _ in range(num_at_once)]
        stopped = asyncio.create_task(self._until_stopped(held))
        try:
            await _first(asyncio.gather(*workers), stopped)
        finally:
            await _cancel([*workers, stopped])

    async def _until_stopped(self, held: Held) -> None:
        while time.time() < held.batch.expires_at:
            batch = await self._batches.get(held.owner, held.batch.id)
            if batch is None or batch.status != "in_progress":
                return
            await asyncio.sleep(_LOOK_S)

    async def _answer_line(self, held: Held, line: Line, answering: Answering) -> None:
        """It waits until there is room for it: no client does."""
        patient_until_s = time.monotonic() + self._patience_s
        while True:
            id, behind_others = token_hex(12), time.monotonic() < patient_until_s
            try:
                body = await _answer(held, line, answering, id, behind_others=behind_others)
            except (EngineUnavailable, RateLimitExceeded) as error:
                await asyncio.sleep(error.retry_after_s)
            except RequestError as error:
                await self._batches.end_line(held.batch.id, line.number, failed(line, id, error), is_ok=False)
                return
            else:
                usage = BatchUsage.of(orjson.loads(body).get("usage") or {})
                await self._batches.end_line(held.batch.id, line.number, answered(line, id, body), usage, is_ok=True)
                return

    async def _finish(self, held: Held) -> None:
        """Write the files. What was not answered is listed with the reason."""
        id = held.batch.id
        batch = await self._batches.change(id, Batch.finalizing)
        if batch.has_ended:
            return
        async for line in self._batches.open_lines(id):
            output = not_run(line, token_hex(12), *batch.reason_not_run)
            await self._batches.end_line(id, line.number, output, is_ok=False)
        counts = await self._batches.counts(id)
        output_id = await self._write(held, "output", is_ok=True) if counts.completed else None
        error_id = await self._write(held, "error", is_ok=False) if counts.failed else None
        await self._batches.change(id, partial(Batch.ended, output_file_id=output_id, error_file_id=error_id))

    async def _write(self, held: Held, kind: str, *, is_ok: bool) -> str:
        name = f"{held.batch.id}_{kind}.jsonl"
        content = self._batches.outputs(held.batch.id, is_ok=is_ok)
        file = await self._files.add(held.owner, name, "batch_output", content, held.output_expires_s)
        return file.id


async def _answer(held: Held, line: Line, answering: Answering, id: str, *, behind_others: bool) -> bytes:
    caller = answering.caller(held.owner)
    if caller is None:
        raise AuthenticationFailed("the API key that this batch was made with is not valid any more")
    try:
        fields = orjson.loads(line.body)
        return await answering.answer(held.batch.endpoint, fields, caller, id, behind_others=behind_others)
    except RequestError:
        raise
    except Exception as error:  # the boundary of one line
        logger.exception("a request of batch %s failed", held.batch.id)
        raise EngineFailed("internal error") from error


def _model(line: Line) -> str | None:
    model = orjson.loads(line.body).get("model")
    return model[:256] if isinstance(model, str) else None


async def _first(*awaitables: asyncio.Future[Any]) -> None:
    """Return with the first that ends, or raise its error."""
    done, _ = await asyncio.wait(awaitables, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
