"""The rows of conversations: what is done to them inside one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Json = dict[str, Any]


def exists(connection: sqlite3.Connection, owner: str, id: str) -> bool:
    select = "SELECT 1 FROM conversations WHERE id = ? AND owner = ?"
    return connection.execute(select, (id, owner)).fetchone() is not None


def append(connection: sqlite3.Connection, id: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Add items to a conversation; nothing if it is not there."""
    dumped = [(item["id"], orjson.dumps(item)) for item in items]
    used = (
        "UPDATE conversations SET used_s = ?, num_bytes = num_bytes + ?, next_position = next_position + ? WHERE id = ?"
    )
    size = sum(len(item) for _, item in dumped)
    if not connection.execute(used, (time.time(), size, len(dumped), id)).rowcount:
        return
    first = end(connection, id) - len(dumped)
    rows = [(id, position, item_id, item) for position, (item_id, item) in enumerate(dumped, start=first)]
    connection.executemany("INSERT INTO conversation_items VALUES (?, ?, ?, ?)", rows)


def end(connection: sqlite3.Connection, id: str) -> int:
    """The position behind the last item that a conversation has had."""
    select = "SELECT next_position FROM conversations WHERE id = ?"
    (position,) = connection.execute(select, (id,)).fetchone()
    return int(position)


def dumped_items(connection: sqlite3.Connection, id: str, before: int) -> list[bytes]:
    """The items at lower positions than `before`, as JSON."""
    select = "SELECT item FROM conversation_items WHERE conversation = ? AND position < ? ORDER BY position"
    return [item for (item,) in connection.execute(select, (id, before))]
