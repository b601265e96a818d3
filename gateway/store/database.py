"""One SQLite file for what outlives a request, shared by all processes of a gateway, and off their event loops.

Write-ahead logging lets readers go on while another process writes; writers wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.store.errors import StoreFailed
from gateway.store.presence import Presence
from gateway.store.schema import STEPS, Step
from triton_repo.contract.errors import EngineUnavailable, LaunchError
from triton_repo.private_directory import private_directory

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

STORE_FILE: Final = "store.sqlite"  # its name in a temporary directory

_APPLICATION_ID: Final = int.from_bytes(b"Cnch")  # in the file's header: which program the file belongs to
_BUSY_TIMEOUT_S: Final = 30.0  # another process writes; one transaction takes milliseconds


class Database:
    """One connection, in a thread of its own. `close` it.

    Attributes:
        presence: which of the processes that use the store are there.

    Raises:
        LaunchError: the file is none of this program's stores, is damaged, or cannot be made.
    """

    def __init__(self, file: Path, steps: Sequence[Step] = STEPS) -> None:
        self._connection = open_store(file, steps)
        self.presence = Presence(file)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._closed = False

    async def read(self, work: Work[Result]) -> Result:
        """What `work` returns; all that it reads is of one moment.

        Raises:
            StoreFailed, EngineUnavailable: the latter after `close`.
        """
        return await self._run("BEGIN", work)

    async def rows(self, query: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[Any]:
        """What one query finds."""
        return await self.read(lambda connection: connection.execute(query, values).fetchall())

    async def write(self, work: Work[Result]) -> Result:
        """What `work` returns; all that it writes is kept, or, if it raises, nothing.

        A caller that is cancelled does not wait, and what it wrote is kept.

        Raises:
            StoreFailed, EngineUnavailable: the latter after `close`.
        """
        return await self._run("BEGIN IMMEDIATE", work)

    async def close(self) -> None:
        """After what was begun. May be called again."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()
        self.presence.close()

    async def _run(self, begin: str, work: Work[Result]) -> Result:
        if self._closed:
            raise EngineUnavailable("the server is shutting down")
        running = asyncio.get_running_loop().run_in_executor(self._thread, partial(self._transact, begin, work))
        running.add_done_callback(lambda it: it.cancelled() or it.exception())  # of a caller that did not wait
        return await asyncio.shield(running)

    def _transact(self, begin: str, work: Work[Result]) -> Result:
        connection = self._connection
        try:
            connection.execute(begin)
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            logger.exception("the store failed")
            raise StoreFailed("the store of this server cannot be used now") from error
        return result


def check_store(file: Path, steps: Sequence[Step] = STEPS) -> None:
    """Read all of a store that is there, before anything is started.

    Raises:
        LaunchError: as `Database` does.
    """
    with closing(open_store(file, steps)) as connection:
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            raise _unusable(file, f"is damaged: {found}")


def open_store(file: Path, steps: Sequence[Step] = STEPS) -> sqlite3.Connection:
    """A connection to the store, which is made if it is not there, readable by its owner alone."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would use the umask
        connection = sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(file, f"cannot be opened: {error}") from error
    try:
        _prepare(connection, file, steps)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(file, f"cannot be used: {error}") from error
    except LaunchError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, file: Path, steps: Sequence[Step]) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    _check_ours(connection, file, len(steps))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # a crash of the machine may lose the last moments, no more
    connection.execute("BEGIN IMMEDIATE")  # processes that start together take turns
    version = _number(connection, "user_version")
    for number, step in enumerate(steps[version:], start=version + 1):
        for statement in step:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute("COMMIT")


def _check_ours(connection: sqlite3.Connection, file: Path, newest: int) -> None:
    is_empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application, version = _number(connection, "application_id"), _number(connection, "user_version")
    if application != _APPLICATION_ID and not (is_empty and application == version == 0):
        raise _unusable(file, "is a database of another program")
    if version > newest:
        raise _unusable(file, f"has version {version}, of a newer Conch; this one reads versions up to {newest}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _unusable(file: Path, reason: str) -> LaunchError:
    return LaunchError(f"store = {file}: {reason}; must be a store of this server, or a path where none is yet")


@contextmanager
def store_file(file: Path | None) -> Iterator[Path]:
    """`file`, or a temporary one until the end of the block."""
    if file is not None:
        yield file
        return
    with private_directory("conch-store-") as directory:
        yield directory / STORE_FILE
