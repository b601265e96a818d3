"""What is kept of responses: within which bounds, for how long, and what becomes of work whose process has ended."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.store.database import Database
from gateway.store.presence import Presence
from gateway.store.response_rows import Kept
from gateway.store.responses import ResponseStore
from gateway.store.room import Bounds

ROOMY = Bounds(max_responses=1000, max_bytes=2**30, max_age_s=1e9)


def response(id: str, owner: str = "", status: str = "completed", size: int = 10, previous: str | None = None) -> Kept:
    item = {"id": f"msg_{id}", "type": "message", "role": "user", "content": [{"text": "x" * size}]}
    return Kept(owner, {"id": id, "status": status, "previous_response_id": previous, "output": [item]}, [item])


def within(file: Path, work: Callable[[ResponseStore], Awaitable[Any]], bounds: Bounds = ROOMY) -> Any:
    async def run() -> Any:
        store = Database(file)
        try:
            return await work(ResponseStore(store, bounds))
        finally:
            await store.close()

    return asyncio.run(run())


def totals(file: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT owner, num_responses, num_bytes FROM response_owners ORDER BY 1").fetchall()


async def there(responses: ResponseStore, owner: str, ids: str) -> str:
    return "".join([id for id in ids if await responses.get(owner, id) is not None])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_too_many_make_the_owner_of_most_give_way(file: Path) -> None:
    async def work(responses: ResponseStore) -> tuple[str, str]:
        for id in "abc":
            await responses.add(response(id, "alice"))
        for id in "xyz":
            await responses.add(response(id, "bob"))
        return await there(responses, "alice", "abc"), await there(responses, "bob", "xyz")

    alice, bob = within(file, work, Bounds(4, 2**30, 1e9))
    assert (alice, bob) == ("bc", "yz")


def test_too_many_bytes_make_room_by_bytes(file: Path) -> None:
    async def work(responses: ResponseStore) -> tuple[str, str]:
        await responses.add(response("a", "alice", size=40_000))
        for id in "vwxyz":
            await responses.add(response(id, "bob", size=10))
        await responses.add(response("b", "alice", size=40_000))
        return await there(responses, "alice", "ab"), await there(responses, "bob", "vwxyz")

    assert within(file, work, Bounds(1000, 100_000, 1e9)) == ("b", "vwxyz")


def test_what_is_too_old_goes_and_what_is_worked_on_stays(file: Path) -> None:
    async def work(responses: ResponseStore) -> str:
        await responses.add(response("a"))
        await responses.add(response("b", status="queued"))
        time.sleep(0.05)
        await responses.add(response("c"))
        return await there(responses, "", "abc")

    assert within(file, work, Bounds(1000, 2**30, 0.04)) == "bc"


def test_one_that_is_larger_than_everything_is_kept_until_the_next(file: Path) -> None:
    async def work(responses: ResponseStore) -> list[str]:
        seen = []
        for id in "ab":
            await responses.add(response(id, size=50_000))
            seen.append(await there(responses, "", "ab"))
        return seen

    assert within(file, work, Bounds(1000, 10_000, 1e9)) == ["a", "b"]


def test_counts_are_those_of_what_is_there(file: Path) -> None:
    async def work(responses: ResponseStore) -> None:
        await responses.add(response("a", "alice"))
        await responses.add(response("b", "alice", status="queued"))
        await responses.append_events("b", 0, [b"event", b"another"])
        await responses.finish(response("b", "alice").body)
        await responses.delete("alice", "a")

    within(file, work)
    [(owner, num_responses, num_bytes)] = totals(file)
    with closing(sqlite3.connect(file)) as connection:
        (kept,) = connection.execute(
            "SELECT (SELECT sum(length(body)) FROM responses) + (SELECT sum(length(item)) FROM response_items)"
            "+ (SELECT sum(length(event)) FROM response_events)"
        ).fetchone()
    assert (owner, num_responses, num_bytes) == ("alice", 1, kept)


def test_what_has_ended_takes_no_other_end(file: Path) -> None:
    async def work(responses: ResponseStore) -> Any:
        await responses.add(response("a", status="queued"))
        assert await responses.begin("a")
        await responses.cancel("", "a")
        assert not await responses.begin("a")
        assert not await responses.finish(response("a").body)
        await responses.cancel("", "a")
        assert await responses.ended(["a", "b"]) == {"a", "b"}
        return await responses.get("", "a")

    assert within(file, work)["status"] == "cancelled"


def test_the_work_of_a_process_that_is_gone_has_failed(file: Path) -> None:
    within(file, lambda responses: responses.add(response("a", status="in_progress")))

    async def start(responses: ResponseStore) -> Any:
        await responses.fail_orphans()
        return await responses.get("", "a")

    found = within(file, start)
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    assert within(file, lambda responses: responses.ended(["a"])) == {"a"}


def test_the_work_of_a_process_that_dies_meanwhile_has_failed_when_it_is_asked_for(file: Path) -> None:
    async def work(responses: ResponseStore) -> tuple[str, str]:
        other = Database(file)
        await ResponseStore(other, ROOMY).add(response("a", status="in_progress"))
        alive = await responses.get("", "a")
        await other.close()
        dead = await responses.get("", "a")
        assert alive is not None
        assert dead is not None
        return alive["status"], dead["status"]

    assert within(file, work) == ("in_progress", "failed")


def test_a_process_is_there_until_it_ends_however_it_ends(file: Path) -> None:
    one, other = Presence(file), Presence(file)
    assert one.is_alive(other.token)
    assert one.is_alive(one.token)
    other.close()
    assert not one.is_alive(other.token)
    assert not one.is_alive("../../etc/passwd")
    left = file.parent / f"{file.name}-process-{'0' * 16}"
    left.touch()  # as of one that was killed
    one.remove_others()
    assert not left.exists()
    assert one.is_alive(one.token)
    one.close()
    assert [*file.parent.iterdir()] == []
