"""The responses that are kept: each for the caller who asked for it, within bounds of number, size and age."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from gateway.store import conversation_rows
from gateway.store import response_rows as rows
from gateway.store.conversations import ConversationStore
from gateway.store.database import Database
from gateway.store.response_rows import ENDED, OPEN, Json, Kept
from gateway.store.room import Bounds, make_room


class ResponseStore:
    """Whatever has the wrong owner is as if it was not there.

    Attributes:
        conversations: those that responses are made from and added to.
    """

    def __init__(self, store: Database, bounds: Bounds) -> None:
        self._store = store
        self._bounds = bounds
        self.conversations = ConversationStore(store, bounds)

    async def add(self, kept: Kept) -> None:
        """Keep a response; what was not used for longest makes room. One that is still open is this process's work."""

        def write(connection: sqlite3.Connection) -> None:
            rows.insert(connection, kept, self._store.presence.token)
            make_room(connection, self._bounds, kept.id)

        await self._store.write(write)

    async def add_to_conversation(self, kept: Kept) -> None:
        """Add to the conversation what a response that is not kept itself adds to it."""

        def write(connection: sqlite3.Connection) -> None:
            if kept.read is not None and kept.body["status"] in ENDED:
                conversation_rows.append(connection, kept.read.conversation, [*kept.input, *kept.body["output"]])
                make_room(connection, self._bounds, kept.read.conversation)

        await self._store.write(write)

    async def begin(self, id: str) -> bool:
        """Whether a queued response may be worked on now; False if it was cancelled or deleted."""
        update = "UPDATE responses SET status = 'in_progress' WHERE id = ? AND process IS NOT NULL"
        return await self._store.write(lambda connection: connection.execute(update, (id,)).rowcount > 0)

    async def finish(self, body: Mapping[str, Any]) -> bool:
        """The end of an open response. Whether it was one: it may have been cancelled or deleted meanwhile."""
        return await self._store.write(lambda connection: rows.finish(connection, body))

    async def get(self, owner: str, id: str) -> Json | None:
        def read(connection: sqlite3.Connection) -> tuple[Json, str | None] | None:
            row = connection.execute(
                "SELECT status, process, body FROM responses WHERE id = ? AND owner = ?", (id, owner)
            ).fetchone()
            return None if row is None else ({**rows.full_body(connection, id, row[2]), "status": row[0]}, row[1])

        found = await self._store.read(read)
        if found is None:
            return None
        body, process = found
        if body["status"] in OPEN and not self._store.presence.is_alive(process or ""):
            await self._store.write(partial(rows.fail_all, process=process or ""))
            return await self.get(owner, id)
        return body

    async def cancel(self, owner: str, id: str) -> None:
        """End an open response: nothing more is added to it."""

        def write(connection: sqlite3.Connection) -> None:
            select = "SELECT body FROM responses WHERE id = ? AND owner = ? AND process IS NOT NULL"
            row = connection.execute(select, (id, owner)).fetchone()
            if row is not None:
                rows.finish(connection, {**rows.full_body(connection, id, row[0]), "status": "cancelled"})

        await self._store.write(write)

    async def delete(self, owner: str, id: str) -> bool:
        """Whether it was there."""
        delete = "DELETE FROM responses WHERE id = ? AND owner = ?"
        return await self._store.write(lambda connection: connection.execute(delete, (id, owner)).rowcount > 0)

    async def conversation(self, owner: str, last: str, max_bytes: int) -> list[Json] | None:
        """The items of a response and of all that it goes on from, the first of them first; they count as used.

        None if one of the responses is not there.

        Raises:
            OverflowError: they are larger than `max_bytes`.
        """

        def read(connection: sqlite3.Connection) -> list[Json] | None:
            chain, is_whole = rows.chain(connection, owner, last)
            if not is_whole:
                return None
            used = [(time.time(), id) for id in chain]
            connection.executemany("UPDATE responses SET used_s = ? WHERE id = ?", used)
            return rows.items_of(connection, chain, max_bytes)

        return await self._store.write(read)

    async def input(self, owner: str, id: str, max_bytes: int) -> list[Json] | None:
        """The items that a response was made from, those of earlier responses first, as far as they are there.

        None if the response is not there.

        Raises:
            OverflowError: they are larger than `max_bytes`.
        """
        own = "SELECT item FROM response_items WHERE response = ? AND NOT is_output ORDER BY position"

        def read(connection: sqlite3.Connection) -> list[Json] | None:
            chain, _ = rows.chain(connection, owner, id)
            if not chain:
                return None
            earlier = rows.items_of(connection, chain, max_bytes, num_skipped=1)
            return earlier + [orjson.loads(row[0]) for row in connection.execute(own, (id,))]

        return await self._store.read(read)

    async def items(self, owner: str, ids: Iterable[str]) -> dict[str, Json]:
        """The items with these ids, of any response or conversation, by their ids."""
        select = (
            "SELECT item FROM (SELECT item, used_s FROM response_items JOIN responses ON responses.id = response "
            "WHERE response_items.id = :id AND owner = :owner UNION ALL SELECT item, used_s FROM conversation_items "
            "JOIN conversations ON conversations.id = conversation WHERE conversation_items.id = :id "
            "AND owner = :owner) ORDER BY used_s DESC LIMIT 1"
        )

        def read(connection: sqlite3.Connection) -> dict[str, Json]:
            found = {id: connection.execute(select, {"id": id, "owner": owner}).fetchone() for id in ids}
            return {id: orjson.loads(row[0]) for id, row in found.items() if row is not None}

        return await self._store.read(read)

    async def append_events(self, id: str, first: int, events: Sequence[bytes]) -> None:
        """Those with the numbers from `first` on; nothing if the response was deleted."""

        def append(connection: sqlite3.Connection) -> None:
            size = sum(map(len, events))
            resized = connection.execute("UPDATE responses SET num_bytes = num_bytes + ? WHERE id = ?", (size, id))
            if resized.rowcount:
                numbered = [(id, number, event) for number, event in enumerate(events, start=first)]
                connection.executemany("INSERT INTO response_events VALUES (?, ?, ?)", numbered)

        await self._store.write(append)

    async def has_events(self, id: str) -> bool:
        """Whether those of its stream are kept."""
        select = "SELECT 1 FROM responses WHERE id = ? AND has_events"
        return await self._store.read(lambda connection: connection.execute(select, (id,)).fetchone() is not None)

    async def events(self, id: str, after: int) -> list[bytes]:
        """Those with higher numbers than `after`."""
        select = "SELECT event FROM response_events WHERE response = ? AND number > ? ORDER BY number LIMIT 1000"
        return await self._store.read(lambda connection: [row[0] for row in connection.execute(select, (id, after))])

    async def ended(self, ids: Iterable[str]) -> set[str]:
        """Those of these that are not open any more, or not there."""
        select = "SELECT 1 FROM responses WHERE id = ? AND process IS NOT NULL"
        return await self._store.read(
            lambda connection: {id for id in ids if connection.execute(select, (id,)).fetchone() is None}
        )

    async def fail_orphans(self) -> None:
        """End what processes that are not there any more have left open."""
        self._store.presence.remove_others()
        select = "SELECT DISTINCT process FROM responses WHERE process IS NOT NULL"
        processes = await self._store.read(lambda connection: [row[0] for row in connection.execute(select)])
        for process in processes:
            if not self._store.presence.is_alive(process):
                await self._store.write(partial(rows.fail_all, process=process))
