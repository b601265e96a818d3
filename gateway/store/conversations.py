"""The conversations that are kept, and their items: each of the caller who made it, within the bounds of responses."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.store import conversation_rows as rows
from gateway.store.conversation_rows import Json
from gateway.store.database import Database
from gateway.store.errors import DuplicateItem
from gateway.store.files import Page
from gateway.store.room import Bounds, make_room
from triton_repo.contract.errors import InvalidRequest

_COLUMNS = "id, created, metadata"


class Conversation(NamedTuple):
    """`created` is in Unix seconds."""

    id: str
    created: int
    metadata: Mapping[str, str]


class ReadItems(NamedTuple):
    """The items of a conversation at one moment, all of them in front of the position `end`."""

    items: list[Json]
    end: int


class ConversationStore:
    """Whatever has the wrong owner is as if it was not there."""

    def __init__(self, store: Database, bounds: Bounds) -> None:
        self._store = store
        self._bounds = bounds

    async def add(self, owner: str, made: Conversation, items: Sequence[Mapping[str, Any]]) -> None:
        """
        Raises:
            DuplicateItem: two items have one id.
        """

        def write(connection: sqlite3.Connection) -> None:
            row = (made.id, owner, made.created, 0.0, 0, orjson.dumps(made.metadata), 0)
            connection.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            _append(connection, made.id, items)
            make_room(connection, self._bounds, made.id)

        await self._store.write(write)

    async def get(self, owner: str, id: str) -> Conversation | None:
        return await self._store.read(lambda connection: _find(connection, owner, id))

    async def update(self, owner: str, id: str, metadata: Mapping[str, str]) -> Conversation | None:
        def write(connection: sqlite3.Connection) -> Conversation | None:
            update = "UPDATE conversations SET metadata = ? WHERE id = ? AND owner = ?"
            connection.execute(update, (orjson.dumps(metadata), id, owner))
            return _find(connection, owner, id)

        return await self._store.write(write)

    async def delete(self, owner: str, id: str) -> bool:
        """Whether it was there."""
        delete = "DELETE FROM conversations WHERE id = ? AND owner = ?"
        return await self._store.write(lambda connection: connection.execute(delete, (id, owner)).rowcount > 0)

    async def append(self, owner: str, id: str, items: Sequence[Mapping[str, Any]], max_bytes: int) -> bool:
        """Whether the conversation is there.

        Raises:
            DuplicateItem: it has an item with the id of one of these.
            InvalidRequest: it would have more than `max_bytes`.
        """

        def write(connection: sqlite3.Connection) -> bool:
            if not rows.exists(connection, owner, id):
                return False
            _append(connection, id, items)
            select = "SELECT num_bytes FROM conversations WHERE id = ?"
            if connection.execute(select, (id,)).fetchone()[0] > max_bytes:
                raise InvalidRequest(f"items: a conversation may have at most {max_bytes} bytes", "items")
            make_room(connection, self._bounds, id)
            return True

        return await self._store.write(write)

    async def read(self, owner: str, id: str, max_bytes: int) -> ReadItems | None:
        """All items of a conversation, which counts as used.

        Raises:
            OverflowError: they are larger than `max_bytes`.
        """

        def read(connection: sqlite3.Connection) -> ReadItems | None:
            select = "SELECT num_bytes FROM conversations WHERE id = ? AND owner = ?"
            row = connection.execute(select, (id, owner)).fetchone()
            if row is None:
                return None
            if row[0] > max_bytes:
                raise OverflowError
            rows.append(connection, id, ())
            end = rows.end(connection, id)
            return ReadItems([*map(orjson.loads, rows.dumped_items(connection, id, end))], end)

        return await self._store.write(read)

    async def page(self, owner: str, id: str, page: Page) -> list[Json] | None:
        """Some items, and one more than its limit if there is one; None if the conversation is not there.

        Raises:
            InvalidRequest: it has no item to begin behind.
        """

        def read(connection: sqlite3.Connection) -> list[Json] | None:
            if not rows.exists(connection, owner, id):
                return None
            after = None if page.after is None else _position(connection, id, page.after)
            if page.after is not None and after is None:
                raise InvalidRequest(f"after = {page.after[:80]!r}: must be the id of an item in the list", "after")
            than, order = ("<", "DESC") if page.newest_first else (">", "ASC")
            behind = "" if after is None else f"AND position {than} :after"
            select = (
                f"SELECT item FROM conversation_items WHERE conversation = :id {behind} "  # noqa: S608 - constants
                f"ORDER BY position {order} LIMIT :limit"
            )
            found = connection.execute(select, {"id": id, "after": after, "limit": page.limit + 1})
            return [orjson.loads(item) for (item,) in found]

        return await self._store.read(read)

    async def item(self, owner: str, id: str, item_id: str) -> Json | None:
        select = (
            "SELECT item FROM conversation_items JOIN conversations ON conversations.id = conversation "
            "WHERE conversation = ? AND owner = ? AND conversation_items.id = ?"
        )
        found = await self._store.rows(select, (id, owner, item_id))
        return orjson.loads(found[0][0]) if found else None

    async def delete_item(self, owner: str, id: str, item_id: str) -> Conversation | None:
        """The conversation without the item; None if it has none with this id."""

        def write(connection: sqlite3.Connection) -> Conversation | None:
            found = _find(connection, owner, id)
            position = None if found is None else _position(connection, id, item_id)
            if position is None:
                return None
            at = (id, position)
            select = "SELECT length(item) FROM conversation_items WHERE conversation = ? AND position = ?"
            (size,) = connection.execute(select, at).fetchone()
            connection.execute("DELETE FROM conversation_items WHERE conversation = ? AND position = ?", at)
            connection.execute("UPDATE conversations SET num_bytes = num_bytes - ? WHERE id = ?", (size, id))
            return found

        return await self._store.write(write)


def _find(connection: sqlite3.Connection, owner: str, id: str) -> Conversation | None:
    select = f"SELECT {_COLUMNS} FROM conversations WHERE id = ? AND owner = ?"  # noqa: S608 - constants
    row = connection.execute(select, (id, owner)).fetchone()
    return None if row is None else Conversation(row[0], row[1], orjson.loads(row[2]))


def _position(connection: sqlite3.Connection, id: str, item_id: str) -> int | None:
    select = "SELECT position FROM conversation_items WHERE conversation = ? AND id = ? ORDER BY position LIMIT 1"
    row = connection.execute(select, (id, item_id)).fetchone()
    return None if row is None else int(row[0])


def _append(connection: sqlite3.Connection, id: str, items: Sequence[Mapping[str, Any]]) -> None:
    ids: set[str] = set()
    for item in items:
        if item["id"] in ids or _position(connection, id, item["id"]) is not None:
            raise DuplicateItem(item["id"], "items")
        ids.add(item["id"])
    rows.append(connection, id, items)
