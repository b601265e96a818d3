"""The tables of the store: all that is kept beyond one request.

Each step takes a file from the version before it to its own, which is its place in the list, from 1. Steps that were
released stay as they are: a change is a step of its own.
"""

from __future__ import annotations

from typing import Final

Step = tuple[str, ...]  # statements

_RESPONSES: Final[Step] = (
    # `process` works on it, until its status is final. `body` is JSON, without the output. `has_events`: its stream is
    # kept, too.
    """CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        previous TEXT,
        status TEXT NOT NULL,
        process TEXT,
        has_events INTEGER NOT NULL,
        used_s REAL NOT NULL,
        num_bytes INTEGER NOT NULL,
        body BLOB NOT NULL
    )""",
    "CREATE INDEX responses_by_use ON responses (used_s)",
    "CREATE INDEX responses_by_owner ON responses (owner, used_s)",
    # The input and the output of each response, in order; `item` is JSON.
    """CREATE TABLE response_items (
        response TEXT NOT NULL REFERENCES responses ON DELETE CASCADE,
        position INTEGER NOT NULL,
        is_output INTEGER NOT NULL,
        id TEXT NOT NULL,
        item BLOB NOT NULL,
        PRIMARY KEY (response, position)
    ) WITHOUT ROWID""",
    "CREATE INDEX response_items_by_id ON response_items (id)",
    # Server-sent events of a response that is made in the background, by their sequence_number.
    """CREATE TABLE response_events (
        response TEXT NOT NULL REFERENCES responses ON DELETE CASCADE,
        number INTEGER NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (response, number)
    ) WITHOUT ROWID""",
    # What each owner has, so that nothing is counted when something comes.
    "CREATE TABLE response_owners (owner TEXT PRIMARY KEY, num_responses INTEGER NOT NULL, num_bytes INTEGER NOT NULL)",
    """CREATE TRIGGER responses_added AFTER INSERT ON responses BEGIN
        INSERT INTO response_owners VALUES (new.owner, 1, new.num_bytes) ON CONFLICT (owner) DO UPDATE
            SET num_responses = num_responses + 1, num_bytes = num_bytes + excluded.num_bytes;
    END""",
    """CREATE TRIGGER responses_resized AFTER UPDATE OF num_bytes ON responses BEGIN
        UPDATE response_owners SET num_bytes = num_bytes + new.num_bytes - old.num_bytes WHERE owner = new.owner;
    END""",
    """CREATE TRIGGER responses_removed AFTER DELETE ON responses BEGIN
        UPDATE response_owners SET num_responses = num_responses - 1, num_bytes = num_bytes - old.num_bytes
            WHERE owner = old.owner;
    END""",
)

_FILES_AND_BATCHES: Final[Step] = (
    # A file that is not complete is being uploaded, or was left over.
    """CREATE TABLE files (
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        num_bytes INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        complete INTEGER NOT NULL
    )""",
    "CREATE INDEX files_by_owner ON files (owner)",
    """CREATE TABLE file_chunks (
        file TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (file, number)
    )""",
    # `process` works on it, until its status is final. `body` is JSON.
    """CREATE TABLE batches (
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        status TEXT NOT NULL,
        process TEXT,
        created REAL NOT NULL,
        output_expires_s INTEGER,
        body TEXT NOT NULL
    )""",
    "CREATE INDEX batches_by_owner ON batches (owner)",
    "CREATE INDEX batches_by_status ON batches (status)",
    # Of batches that have not ended. `request` and `output` are JSON; `is_ok` tells which file the output goes to.
    """CREATE TABLE batch_lines (
        batch TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        custom_id TEXT NOT NULL,
        request BLOB NOT NULL,
        output BLOB,
        is_ok INTEGER,
        PRIMARY KEY (batch, number),
        UNIQUE (batch, custom_id)
    )""",
)

_CONVERSATIONS: Final[Step] = (
    # `metadata` is JSON. `next_position` is that of the next item; a deleted one's is not given again, because what was
    # made from a conversation has lower positions.
    """CREATE TABLE conversations (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        created INTEGER NOT NULL,
        used_s REAL NOT NULL,
        num_bytes INTEGER NOT NULL,
        metadata BLOB NOT NULL,
        next_position INTEGER NOT NULL
    )""",
    "CREATE INDEX conversations_by_use ON conversations (used_s)",
    "CREATE INDEX conversations_by_owner ON conversations (owner, used_s)",
    # In order; `item` is JSON.
    """CREATE TABLE conversation_items (
        conversation TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        item BLOB NOT NULL,
        PRIMARY KEY (conversation, position)
    ) WITHOUT ROWID""",
    "CREATE INDEX conversation_items_by_id ON conversation_items (id)",
    # The conversation that a response was made from, as far as it had come then: the items at lower positions.
    "ALTER TABLE responses ADD COLUMN conversation TEXT",
    "ALTER TABLE responses ADD COLUMN conversation_end INTEGER",
    # A conversation counts as a response.
    """CREATE TRIGGER conversations_added AFTER INSERT ON conversations BEGIN
        INSERT INTO response_owners VALUES (new.owner, 1, new.num_bytes) ON CONFLICT (owner) DO UPDATE
            SET num_responses = num_responses + 1, num_bytes = num_bytes + excluded.num_bytes;
    END""",
    """CREATE TRIGGER conversations_resized AFTER UPDATE OF num_bytes ON conversations BEGIN
        UPDATE response_owners SET num_bytes = num_bytes + new.num_bytes - old.num_bytes WHERE owner = new.owner;
    END""",
    """CREATE TRIGGER conversations_removed AFTER DELETE ON conversations BEGIN
        UPDATE response_owners SET num_responses = num_responses - 1, num_bytes = num_bytes - old.num_bytes
            WHERE owner = old.owner;
    END""",
)

STEPS: Final[tuple[Step, ...]] = (_RESPONSES, _FILES_AND_BATCHES, _CONVERSATIONS)
