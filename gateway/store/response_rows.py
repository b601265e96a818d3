"""The rows of responses: what each step of `ResponseStore` does to them inside one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

Json = dict[str, Any]

OPEN: Final = ("queued", "in_progress")  # statuses of what is being worked on

_LONGEST_CHAIN: Final = 10_000  # responses of one conversation
_NO_PROCESS: Final = {"code": "server_error", "message": "the server ended while it worked on this response"}


@dataclass(frozen=True, slots=True)
class Bounds:
    max_responses: int
    max_bytes: int
    max_age_s: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A response, the items that it was asked with, and those that its body has as output."""

    owner: str
    body: Mapping[str, Any]
    input: Sequence[Mapping[str, Any]]
    has_events: bool = False  # those of its stream are kept, too

    @property
    def id(self) -> str:
        id: str = self.body["id"]
        return id


def insert(connection: sqlite3.Connection, kept: Kept, process: str) -> None:
    """`process` works on it, if it is open."""
    body, given, made = kept.body, _Items(0, kept.input), _Items(1, kept.body["output"])
    process_or_none = process if body["status"] in OPEN else None
    row = (kept.id, kept.owner, body["previous_response_id"], body["status"], process_or_none, kept.has_events)
    dumped = _dumped(body)
    size = len(dumped) + given.num_bytes + made.num_bytes
    connection.execute("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, time.time(), size, dumped))
    given.insert(connection, kept.id, 0)
    made.insert(connection, kept.id, len(kept.input))


def finish(connection: sqlite3.Connection, body: Mapping[str, Any]) -> bool:
    """Give an open response its end; whether it was open."""
    id, dumped, made = body["id"], _dumped(body), _Items(1, body["output"])
    ended = connection.execute(
        "UPDATE responses SET status = ?, process = NULL, num_bytes = num_bytes - length(body) + ?, body = ? "
        "WHERE id = ? AND process IS NOT NULL",
        (body["status"], len(dumped) + made.num_bytes, dumped, id),
    )
    if not ended.rowcount:
        return False
    (first,) = connection.execute("SELECT count(*) FROM response_items WHERE response = ?", (id,)).fetchone()
    made.insert(connection, id, first)
    return True


def full_body(connection: sqlite3.Connection, id: str, dumped: bytes) -> Json:
    """With its output."""
    select = "SELECT item FROM response_items WHERE response = ? AND is_output ORDER BY position"
    output = [orjson.loads(row[0]) for row in connection.execute(select, (id,))]
    return {**orjson.loads(dumped), "output": output}


def fail_all(connection: sqlite3.Connection, process: str) -> None:
    """Those that a process has left open."""
    select = "SELECT id, body FROM responses WHERE process = ?"
    for id, body in connection.execute(select, (process,)).fetchall():
        finish(connection, {**full_body(connection, id, body), "status": "failed", "error": _NO_PROCESS})


def chain(connection: sqlite3.Connection, owner: str, last: str) -> tuple[list[str], bool]:
    """The ids of a response and of those that it goes on from, the last one first, and whether all are there."""
    ids: list[str] = []
    id: str | None = last
    while id is not None:
        row = connection.execute("SELECT previous FROM responses WHERE id = ? AND owner = ?", (id, owner)).fetchone()
        if row is None or len(ids) == _LONGEST_CHAIN:
            return ids, False
        ids.append(id)
        id = row[0]
    return ids, True


def items_of(connection: sqlite3.Connection, ids: Sequence[str], max_bytes: int) -> list[Json]:
    """Those of a chain, the first response's first.

    Raises:
        OverflowError: they are larger than `max_bytes`.
    """
    select = "SELECT item FROM response_items WHERE response = ? ORDER BY position"
    items: list[bytes] = []
    num_bytes = 0
    for id in reversed(ids):
        for (item,) in connection.execute(select, (id,)):
            num_bytes += len(item)
            if num_bytes > max_bytes:
                raise OverflowError
            items.append(item)
    return [*map(orjson.loads, items)]


_REMOVE_OLD: Final = """DELETE FROM responses WHERE id IN (
    SELECT id FROM responses WHERE used_s < ? AND id != ? AND process IS NULL ORDER BY used_s LIMIT 100
)"""
_REMOVE_OLDEST: Final = """DELETE FROM responses WHERE id IN (
    SELECT id FROM responses WHERE owner = ? AND id != ? AND process IS NULL ORDER BY used_s LIMIT 1
)"""
_TOTALS: Final = "SELECT total(num_responses), total(num_bytes) FROM response_owners"
_OWNER_OF_MOST_RESPONSES: Final = "SELECT owner FROM response_owners ORDER BY num_responses DESC LIMIT 1"
_OWNER_OF_MOST_BYTES: Final = "SELECT owner FROM response_owners ORDER BY num_bytes DESC LIMIT 1"


def make_room(connection: sqlite3.Connection, bounds: Bounds, added: str = "") -> None:
    """Remove what is too old, and while there is too much, what the owner of most has not used for longest. What is
    being worked on stays, and so does `added`."""
    connection.execute(_REMOVE_OLD, (time.time() - bounds.max_age_s, added))  # a few at a time: none waits for all
    while True:
        num_responses, num_bytes = connection.execute(_TOTALS).fetchone()
        if num_responses <= bounds.max_responses and num_bytes <= bounds.max_bytes:
            return
        most = _OWNER_OF_MOST_BYTES if num_bytes > bounds.max_bytes else _OWNER_OF_MOST_RESPONSES
        (owner,) = connection.execute(most).fetchone()
        if not connection.execute(_REMOVE_OLDEST, (owner, added)).rowcount:
            return


class _Items:
    """Items as they are kept: of an input, or of an output."""

    def __init__(self, is_output: int, items: Sequence[Mapping[str, Any]]) -> None:
        self._rows = [(is_output, item["id"], orjson.dumps(item)) for item in items]

    @property
    def num_bytes(self) -> int:
        return sum(len(dumped) for _, _, dumped in self._rows)

    def insert(self, connection: sqlite3.Connection, id: str, first: int) -> None:
        rows = [(id, position, *row) for position, row in enumerate(self._rows, start=first)]
        connection.executemany("INSERT INTO response_items VALUES (?, ?, ?, ?, ?)", rows)


def _dumped(body: Mapping[str, Any]) -> bytes:
    """Without its output, whose items are kept by themselves."""
    return orjson.dumps({**body, "output": []})
