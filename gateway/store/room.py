"""Within which bounds responses and conversations are kept, and which of them make room for others."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Final

_REMOVE_OLD: Final = (
    """DELETE FROM responses WHERE id IN (
        SELECT id FROM responses WHERE used_s < ? AND id != ? AND process IS NULL ORDER BY used_s LIMIT 100
    )""",
    """DELETE FROM conversations WHERE id IN (
        SELECT id FROM conversations WHERE used_s < ? AND id != ? ORDER BY used_s LIMIT 100
    )""",
)
_OLDEST: Final = """SELECT kind, id FROM (
    SELECT * FROM (SELECT 0 AS kind, id, used_s FROM responses
        WHERE owner = :owner AND id != :added AND process IS NULL ORDER BY used_s LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT 1, id, used_s FROM conversations
        WHERE owner = :owner AND id != :added ORDER BY used_s LIMIT 1)
) ORDER BY used_s LIMIT 1"""
_REMOVE: Final = ("DELETE FROM responses WHERE id = ?", "DELETE FROM conversations WHERE id = ?")  # by kind
_TOTALS: Final = "SELECT total(num_responses), total(num_bytes) FROM response_owners"
_OWNER_OF_MOST_RESPONSES: Final = "SELECT owner FROM response_owners ORDER BY num_responses DESC LIMIT 1"
_OWNER_OF_MOST_BYTES: Final = "SELECT owner FROM response_owners ORDER BY num_bytes DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Bounds:
    """`max_responses`: a conversation counts as one."""

    max_responses: int
    max_bytes: int
    max_age_s: float


def make_room(connection: sqlite3.Connection, bounds: Bounds, added: str = "") -> None:
    """Remove what is too old, and while there is too much, what the owner of most has not used for longest. What is
    being worked on stays, and so does `added`."""
    for remove in _REMOVE_OLD:  # a few at a time: none waits for all
        connection.execute(remove, (time.time() - bounds.max_age_s, added))
    while True:
        num_responses, num_bytes = connection.execute(_TOTALS).fetchone()
        if num_responses <= bounds.max_responses and num_bytes <= bounds.max_bytes:
            return
        most = _OWNER_OF_MOST_BYTES if num_bytes > bounds.max_bytes else _OWNER_OF_MOST_RESPONSES
        (owner,) = connection.execute(most).fetchone()
        oldest = connection.execute(_OLDEST, {"owner": owner, "added": added}).fetchone()
        if oldest is None:
            return
        kind, id = oldest
        connection.execute(_REMOVE[kind], (id,))
