"""Files that clients upload, and those that batches write: kept in pieces, each of its owner alone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from secrets import token_hex
from typing import Final

from gateway.store.database import Database
from gateway.store.errors import StoreFailed, StoreFull
from triton_repo.contract.errors import RequestError

CHUNK_BYTES: Final = 1 << 20  # of one transaction, while which nothing else is written

_COLUMNS: Final = "id, owner, filename, purpose, num_bytes, created, expires"
_LEFT_OVER_S: Final = 86400.0  # an upload that has not ended by then never will


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Times are Unix seconds; `expires` None is never."""

    id: str
    owner: str
    filename: str
    purpose: str
    num_bytes: int
    created: int
    expires: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Which of a list are wanted: up to `limit` of those behind the one with the id `after`."""

    limit: int
    after: str | None = None
    newest_first: bool = True


class FileStore:
    """`max_bytes` is the bound on the files of all owners together."""

    def __init__(self, store: Database, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes

    async def add(
        self, owner: str, filename: str, purpose: str, content: AsyncIterator[bytes], expires_after_s: int | None
    ) -> StoredFile:
        """Keep a file, all of it or nothing.

        Raises:
            StoreFull: the files that are kept leave no room for it.
        """
        now = int(time.time())
        expires = None if expires_after_s is None else now + expires_after_s
        file = StoredFile(f"file-{token_hex(12)}", owner, filename, purpose, 0, now, expires)
        await self._store.write(lambda connection: _begin(connection, file))
        try:
            number, num_bytes = 0, 0
            async for chunk in _in_chunks(content):
                await self._append(file.id, number, chunk)
                number, num_bytes = number + 1, num_bytes + len(chunk)
            await self._store.write(lambda connection: _complete(connection, file.id, num_bytes))
        except BaseException:
            with suppress(RequestError):  # what is left over is removed later
                await self.delete(owner, file.id)
            raise
        return replace(file, num_bytes=num_bytes)

    async def get(self, owner: str, id: str) -> StoredFile | None:
        where = "id = ? AND owner = ? AND complete AND ifnull(expires > ?, 1)"
        query = f"SELECT {_COLUMNS} FROM files WHERE {where}"  # noqa: S608 - constants
        rows = await self._store.rows(query, (id, owner, time.time()))
        return StoredFile(*rows[0]) if rows else None

    async def page(self, owner: str, page: Page, purpose: str | None = None) -> list[StoredFile]:
        """One more than `page.limit` if there are more."""
        order, beyond = ("DESC", "<") if page.newest_first else ("ASC", ">")
        query = f"""SELECT {_COLUMNS} FROM files
            WHERE owner = :owner AND complete AND ifnull(expires > :now, 1) AND ifnull(purpose = :purpose, 1)
                AND (:after IS NULL OR rowid {beyond} (SELECT rowid FROM files WHERE id = :after AND owner = :owner))
            ORDER BY rowid {order} LIMIT :limit"""  # noqa: S608 - constants
        values = {"owner": owner, "now": time.time(), "purpose": purpose, "after": page.after, "limit": page.limit + 1}
        return [StoredFile(*row) for row in await self._store.rows(query, values)]

    async def delete(self, owner: str, id: str) -> bool:
        """Whether there was one."""
        statement = "DELETE FROM files WHERE id = ? AND owner = ?"
        return await self._store.write(lambda it: it.execute(statement, (id, owner)).rowcount > 0)

    async def content(self, id: str) -> AsyncIterator[bytes]:
        """The pieces of a file; fewer where it is deleted meanwhile."""
        query = "SELECT content FROM file_chunks WHERE file = ? AND number = ?"
        for number in count():
            rows = await self._store.rows(query, (id, number))
            if not rows:
                return
            yield rows[0][0]

    async def _append(self, id: str, number: int, chunk: bytes) -> None:
        def append(connection: sqlite3.Connection) -> bool:
            (used,) = connection.execute("SELECT ifnull(sum(num_bytes), 0) FROM files").fetchone()
            if used + len(chunk) > self._max_bytes:
                return False
            connection.execute("INSERT INTO file_chunks VALUES (?, ?, ?)", (id, number, chunk))
            connection.execute("UPDATE files SET num_bytes = num_bytes + ? WHERE id = ?", (len(chunk), id))
            return True

        if not await self._store.write(append):
            raise StoreFull(f"file: the files on this server may have {self._max_bytes} bytes together", "file")


def _begin(connection: sqlite3.Connection, file: StoredFile) -> None:
    """Those that have expired make room first."""
    now = time.time()
    left_over = "expires <= ? OR (NOT complete AND created < ?)"
    connection.execute(f"DELETE FROM files WHERE {left_over}", (now, now - _LEFT_OVER_S))  # noqa: S608 - constants
    connection.execute(
        f"INSERT INTO files ({_COLUMNS}, complete) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",  # noqa: S608 - constants
        (file.id, file.owner, file.filename, file.purpose, file.num_bytes, file.created, file.expires),
    )


def _complete(connection: sqlite3.Connection, id: str, num_bytes: int) -> None:
    statement = "UPDATE files SET complete = 1 WHERE id = ? AND num_bytes = ?"
    if connection.execute(statement, (id, num_bytes)).rowcount == 0:
        raise StoreFailed("the file was deleted while it was written")


async def _in_chunks(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    pending = bytearray()
    async for piece in content:
        pending += piece
        while len(pending) >= CHUNK_BYTES:
            yield bytes(pending[:CHUNK_BYTES])
            del pending[:CHUNK_BYTES]
    if pending:
        yield bytes(pending)
