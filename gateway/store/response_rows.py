"""The rows of responses: what each step of `ResponseStore` does to them inside one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gateway.store import conversation_rows

Json = dict[str, Any]

OPEN: Final = ("queued", "in_progress")  # statuses of what is being worked on
ENDED: Final = ("completed", "incomplete")  # of what can be gone on from

_LONGEST_CHAIN: Final = 10_000  # responses of one conversation
_NO_PROCESS: Final = {"code": "server_error", "message": "the server ended while it worked on this response"}


class Read(NamedTuple):
    """What a response was made from: a conversation, as far as it had come, up to the position `end`."""

    conversation: str
    end: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A response, the items that it was asked with, and those that its body has as output.

    Attributes:
        has_events: those of its stream are kept, too.
        read: the conversation that it belongs to; what a complete response adds to it is added with its end.
    """

    owner: str
    body: Mapping[str, Any]
    input: Sequence[Mapping[str, Any]]
    has_events: bool = False
    read: Read | None = None

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
    row = (*row, time.time(), size, dumped, *(kept.read or (None, None)))
    connection.execute("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    given.insert(connection, kept.id, 0)
    made.insert(connection, kept.id, len(kept.input))
    _add_to_conversation(connection, kept.id, body["status"])


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
    _add_to_conversation(connection, id, body["status"])
    return True


def _add_to_conversation(connection: sqlite3.Connection, id: str, status: str) -> None:
    """What a response has added to its conversation, if it has come to an end of its own."""
    (conversation,) = connection.execute("SELECT conversation FROM responses WHERE id = ?", (id,)).fetchone()
    if conversation is not None and status in ENDED:
        select = "SELECT item FROM response_items WHERE response = ? ORDER BY position"
        items = [orjson.loads(item) for (item,) in connection.execute(select, (id,))]
        conversation_rows.append(connection, conversation, items)


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
    """The ids of a response and of those that it goes on from, the last one first, and whether all are there, with the
    conversation that the first one was made from."""
    ids: list[str] = []
    id: str | None = last
    while id is not None:
        row = connection.execute("SELECT previous FROM responses WHERE id = ? AND owner = ?", (id, owner)).fetchone()
        if row is None or len(ids) == _LONGEST_CHAIN:
            return ids, False
        ids.append(id)
        id = row[0]
    read = _read_by(connection, ids[-1])
    return ids, read is None or conversation_rows.exists(connection, owner, read.conversation)


def _read_by(connection: sqlite3.Connection, id: str) -> Read | None:
    row = connection.execute("SELECT conversation, conversation_end FROM responses WHERE id = ?", (id,)).fetchone()
    return None if row is None or row[0] is None else Read(*row)


def items_of(connection: sqlite3.Connection, ids: Sequence[str], max_bytes: int, num_skipped: int = 0) -> list[Json]:
    """Those of a chain, the first response's first, behind those of the conversation that it was made from; without
    those of its last responses, if some are to be skipped.

    Raises:
        OverflowError: they are larger than `max_bytes`.
    """
    items: list[bytes] = []
    num_bytes = 0
    for item in _dumped_items_of(connection, ids, num_skipped):
        num_bytes += len(item)
        if num_bytes > max_bytes:
            raise OverflowError
        items.append(item)
    return [*map(orjson.loads, items)]


def _dumped_items_of(connection: sqlite3.Connection, ids: Sequence[str], num_skipped: int) -> Iterator[bytes]:
    if (read := _read_by(connection, ids[-1])) is not None:
        yield from conversation_rows.dumped_items(connection, *read)
    select = "SELECT item FROM response_items WHERE response = ? ORDER BY position"
    for id in reversed(ids[num_skipped:]):
        yield from (item for (item,) in connection.execute(select, (id,)))


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
