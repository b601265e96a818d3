"""Batches and their lines: which there are, which process works on each, and what has come of each line."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.batches.batch import FINAL, NO_USAGE, Batch, BatchUsage, LineError, RequestCounts
from gateway.batches.lines import Line
from gateway.store.database import Database
from gateway.store.files import Page

_PAGE: Final = 64  # lines that are read at once
_OPEN: Final = ", ".join(f"'{status}'" for status in ("validating", "in_progress", "finalizing", "cancelling"))


@dataclass(frozen=True, slots=True)
class Held:
    """A batch that this process works on. `output_expires_s`: after how long what it writes is removed."""

    batch: Batch
    owner: str
    output_expires_s: int | None


class BatchStore:
    """`max_age_s`: how long batches that have ended are kept."""

    def __init__(self, store: Database, max_age_s: float) -> None:
        self._store = store
        self._max_age_s = max_age_s

    async def add(self, owner: str, batch: Batch, output_expires_s: int | None, max_open: int) -> bool:
        """Whether the owner had fewer than `max_open` that have not ended."""

        def insert(connection: sqlite3.Connection) -> bool:
            _remove_old(connection, time.time() - self._max_age_s)
            (num_open,) = connection.execute(
                f"SELECT count(*) FROM batches WHERE owner = ? AND status IN ({_OPEN})",  # noqa: S608 - constants
                (owner,),
            ).fetchone()
            if num_open >= max_open:
                return False
            row = (batch.id, owner, batch.status, time.time(), output_expires_s, batch.model_dump_json())
            connection.execute("INSERT INTO batches VALUES (?, ?, ?, NULL, ?, ?, ?)", row)
            return True

        return await self._store.write(insert)

    async def get(self, owner: str, id: str) -> Batch | None:
        query = "SELECT body FROM batches WHERE id = ? AND owner = ?"
        rows = await self._store.rows(query, (id, owner))
        return Batch.model_validate_json(rows[0][0]) if rows else None

    async def counts(self, id: str) -> RequestCounts:
        """Of one that is there."""
        ((body,),) = await self._store.rows("SELECT body FROM batches WHERE id = ?", (id,))
        return Batch.model_validate_json(body).request_counts

    async def page(self, owner: str, page: Page) -> list[Batch]:
        """The newest first; one more than `page.limit` if there are more."""
        query = """SELECT body FROM batches
            WHERE owner = :owner
                AND (:after IS NULL OR rowid < (SELECT rowid FROM batches WHERE id = :after AND owner = :owner))
            ORDER BY rowid DESC LIMIT :limit"""
        values = {"owner": owner, "after": page.after, "limit": page.limit + 1}
        return [Batch.model_validate_json(body) for (body,) in await self._store.rows(query, values)]

    async def change(self, id: str, change: Callable[[Batch], Batch]) -> Batch:
        """The batch as `change` makes it of what it is now."""
        return await self._store.write(lambda connection: _change(connection, id, change))

    async def claim(self) -> Held | None:
        """The oldest batch that has work and no process: it is this process's now."""
        presence = self._store.presence

        def claim(connection: sqlite3.Connection) -> Held | None:
            query = f"SELECT id, owner, process, output_expires_s, body FROM batches WHERE status IN ({_OPEN}) ORDER BY rowid"  # noqa: S608, E501 - constants
            for id, owner, process, output_expires_s, body in connection.execute(query).fetchall():
                if process is None or (process != presence.token and not presence.is_alive(process)):
                    connection.execute("UPDATE batches SET process = ? WHERE id = ?", (presence.token, id))
                    return Held(Batch.model_validate_json(body), owner, output_expires_s)
            return None

        return await self._store.write(claim)

    async def release(self, id: str) -> None:
        """Another process may go on with it."""
        await self._store.write(lambda it: it.execute("UPDATE batches SET process = NULL WHERE id = ?", (id,)))

    async def add_lines(self, id: str, lines: Sequence[Line]) -> list[LineError]:
        """The errors of those whose `custom_id` another line has."""

        def insert(connection: sqlite3.Connection) -> list[LineError]:
            errors = []
            for line in lines:
                statement = "INSERT OR IGNORE INTO batch_lines VALUES (?, ?, ?, ?, NULL, NULL)"
                row = (id, line.number, line.custom_id, line.body)
                if connection.execute(statement, row).rowcount == 0:
                    message = f"custom_id: {line.custom_id!r} is that of another line, too"
                    errors.append(
                        LineError(code="duplicate_custom_id", message=message, param="custom_id", line=line.number)
                    )
            return errors

        return await self._store.write(insert)

    async def remove_lines(self, id: str) -> None:
        await self._store.write(lambda it: it.execute("DELETE FROM batch_lines WHERE batch = ?", (id,)))

    async def open_lines(self, id: str) -> AsyncIterator[Line]:
        """Those without an output, in order."""
        query = """SELECT number, custom_id, request FROM batch_lines
            WHERE batch = ? AND number > ? AND output IS NULL ORDER BY number LIMIT ?"""
        last = 0
        while rows := await self._store.rows(query, (id, last, _PAGE)):
            for row in rows:
                yield Line(*row)
            last = rows[-1][0]

    async def end_line(self, id: str, number: int, output: bytes, usage: BatchUsage = NO_USAGE, *, is_ok: bool) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE batch_lines SET output = ?, is_ok = ?, request = x'' WHERE batch = ? AND number = ?",
                (output, is_ok, id, number),
            )
            _change(connection, id, lambda batch: batch.counting(usage, is_ok=is_ok))

        await self._store.write(write)

    async def outputs(self, id: str, *, is_ok: bool) -> AsyncIterator[bytes]:
        """Those of the lines that were answered, or of the others, in order."""
        query = """SELECT number, output FROM batch_lines
            WHERE batch = ? AND number > ? AND is_ok = ? ORDER BY number LIMIT ?"""
        last = 0
        while rows := await self._store.rows(query, (id, last, is_ok, _PAGE)):
            yield b"".join(output for _, output in rows)
            last = rows[-1][0]


def _change(connection: sqlite3.Connection, id: str, change: Callable[[Batch], Batch]) -> Batch:
    (body,) = connection.execute("SELECT body FROM batches WHERE id = ?", (id,)).fetchone()
    batch = change(Batch.model_validate_json(body))
    row = (batch.status, batch.model_dump_json(), id)
    connection.execute("UPDATE batches SET status = ?, body = ? WHERE id = ?", row)
    if batch.status in FINAL:
        connection.execute("DELETE FROM batch_lines WHERE batch = ?", (id,))
    return batch


def _remove_old(connection: sqlite3.Connection, before_s: float) -> None:
    query = f"DELETE FROM batches WHERE created < ? AND status NOT IN ({_OPEN})"  # noqa: S608 - constants
    connection.execute(query, (before_s,))
