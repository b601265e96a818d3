"""The store's file: who may read it, what it may be at the start, and what all that share it see."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.settings import load_settings
from gateway.store.database import Database, check_store, store_file
from gateway.store.errors import StoreFailed
from gateway.store.schema import Step
from tests.gateway.gateway_process import Gateway, running
from triton_repo.contract.errors import EngineUnavailable, LaunchError

STEPS: tuple[Step, ...] = (("CREATE TABLE notes (text TEXT NOT NULL UNIQUE)", "CREATE INDEX by_text ON notes (text)"),)
LATER = (*STEPS, ("ALTER TABLE notes ADD COLUMN number INTEGER NOT NULL DEFAULT 7",))
Result = TypeVar("Result")


def note(*texts: str) -> Callable[[sqlite3.Connection], None]:
    def insert(connection: sqlite3.Connection) -> None:
        for text in texts:
            connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))

    return insert


def notes(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY text")]


def with_store(file: Path, work: Callable[[Database], Awaitable[Result]], steps: tuple[Step, ...] = STEPS) -> Result:
    async def run() -> Result:
        store = Database(file, steps)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_what_is_written_is_there_after_a_restart_and_readable_by_its_owner_alone(file: Path) -> None:
    with_store(file, lambda store: store.write(note("a", "b")))
    assert with_store(file, lambda store: store.read(notes)) == ["a", "b"]
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


def test_a_write_that_fails_leaves_nothing_and_the_store_works_on(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(store: Database) -> list[str]:
        with pytest.raises(StoreFailed):
            await store.write(note("a", "a"))
        await store.write(note("b"))
        return await store.read(notes)

    assert with_store(file, work) == ["b"]
    assert "UNIQUE" in caplog.text


def test_a_store_without_room_fails_what_is_written_and_works_on_once_there_is_some(file: Path) -> None:
    async def have_pages(store: Database, most: int) -> None:
        await store.read(lambda connection: connection.execute(f"PRAGMA max_page_count = {most}").fetchall())

    async def work(store: Database) -> list[str]:
        await store.write(note("a"))
        await have_pages(store, 1)  # no more than there are, as on a full disk
        with pytest.raises(StoreFailed):
            await store.write(note("b" * 100_000))
        assert await store.read(notes) == ["a"]
        await have_pages(store, 2**30)
        await store.write(note("c"))
        return await store.read(notes)

    assert with_store(file, work) == ["a", "c"]


def test_a_write_goes_on_without_the_caller_that_asked_for_it(file: Path) -> None:
    begun, end = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        begun.set()
        assert end.wait(120)
        note("a")(connection)

    async def work(store: Database) -> list[str]:
        writing = asyncio.create_task(store.write(slow))
        await asyncio.to_thread(begun.wait, 120)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        end.set()
        return await store.read(notes)

    assert with_store(file, work) == ["a"]


def test_what_several_write_at_once_is_all_there(file: Path) -> None:
    async def work(store: Database) -> list[str]:
        others = [Database(file, STEPS) for _ in range(3)]
        await asyncio.gather(
            *(each.write(note(f"{index} {n}")) for index, each in enumerate(others) for n in range(50))
        )
        for other in others:
            await other.close()
        return await store.read(notes)

    assert len(with_store(file, work)) == 150


def test_a_store_that_is_closed_says_so(file: Path) -> None:
    async def work(store: Database) -> None:
        await store.close()
        with pytest.raises(EngineUnavailable, match="shutting down"):
            await store.read(notes)

    with_store(file, work)


def test_an_older_store_is_brought_up_to_date_and_a_newer_one_is_rejected(file: Path) -> None:
    with_store(file, lambda store: store.write(note("a")))
    assert with_store(file, lambda store: store.read(notes), LATER) == ["a"]
    with pytest.raises(LaunchError, match=r"has version 2, of a newer Conch; this one reads versions up to 1"):
        Database(file, STEPS)


def test_the_database_of_another_program_is_rejected_and_stays_as_it_was(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    before = file.read_bytes()
    with pytest.raises(LaunchError, match=r"store = .*store\.sqlite: is a database of another program"):
        load_settings({"store": file}, {})
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_rejected(file: Path) -> None:
    file.write_bytes(b"not a database at all, but longer than its header" * 100)
    with pytest.raises(LaunchError, match="file is not a database"):
        load_settings({"store": file}, {})


def test_a_damaged_page_is_found_before_anything_starts(file: Path) -> None:
    with_store(file, lambda store: store.write(note(*(f"{n:0500}" for n in range(200)))))
    content = bytearray(file.read_bytes())
    content[-3 * 4096 :] = b"\xa5" * 3 * 4096
    file.write_bytes(content)
    with pytest.raises(LaunchError, match="is damaged"):
        check_store(file, STEPS)


@pytest.mark.parametrize("place", ["", "missing/store.sqlite"])
def test_a_path_where_no_file_can_be_is_rejected(tmp_path: Path, place: str) -> None:
    with pytest.raises(LaunchError, match="cannot be opened"):
        load_settings({"store": tmp_path / place}, {})


def test_without_a_path_the_file_is_gone_at_the_end() -> None:
    with store_file(None) as temporary:
        with_store(temporary, lambda store: store.write(note("a")))
    assert not temporary.parent.exists()


def test_a_gateway_that_cannot_use_its_store_says_why_and_does_not_start(file: Path) -> None:
    file.write_bytes(b"x" * 5000)
    gateway = Gateway("--store", str(file), "--triton-grpc", "127.0.0.1:1")
    assert gateway.ends() == 2
    assert gateway.log.count("\n") == 1
    assert "must be a store of this server" in gateway.log


def test_workers_share_one_file_which_ends_with_them(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    with running("--workers", "2", "--triton-grpc", "127.0.0.1:1", environment=environment):
        assert len([*tmp_path.rglob("store.sqlite")]) == 1
    assert [*tmp_path.iterdir()] == []
