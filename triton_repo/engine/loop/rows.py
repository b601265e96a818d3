"""Several rows of one Triton request: each is answered by itself, and the request ends with the last of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from triton_repo.contract.errors import InvalidRequest, RequestError, to_wire
from triton_repo.contract.tensors import MAX_ROW_ID_BYTES, NOT_REPORTED, ROW_IDS
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.loop.stream import Emission


def row_ids(rows: Sequence[Mapping[str, Sequence[Any]]], request_id: str) -> list[str]:
    """The request id of each row; without `row_ids` that of their request, or a random one, and the row's number.

    Raises:
        InvalidRequest: an id is missing, too long, not UTF-8, or that of another row.
    """
    if ROW_IDS.name not in rows[0]:
        stem = request_id or uuid.uuid4().hex
        return [f"{stem}/{number}" for number in range(len(rows))]
    ids = [bytes(row.get(ROW_IDS.name, [b""])[0]) for row in rows]
    if len(set(ids)) < len(ids) or not all(0 < len(id) <= MAX_ROW_ID_BYTES for id in ids):
        rule = f"each of {len(ids)} rows needs an id of its own, of at most {MAX_ROW_ID_BYTES} bytes"
        raise InvalidRequest(f"{ROW_IDS.name}: {rule}", ROW_IDS.name)
    try:
        return [id.decode() for id in ids]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{ROW_IDS.name}: not valid UTF-8", ROW_IDS.name) from error


class SharedSink:
    """The sink of a request, shared by its rows. They may be answered from several threads."""

    def __init__(self, sink: Sink, num_rows: int) -> None:
        self._sink = sink
        self._num_open = num_rows
        self._lock = threading.Lock()

    def send(self, emissions: Sequence[Emission], *, ends_row: bool) -> None:
        """Raises what the sink raises: then the message is lost, and the row that it would have ended is still open."""
        with self._lock:
            self._sink.send(emissions, final=ends_row and self._num_open == 1)
            if ends_row:
                self._num_open -= 1

    def end_row(self) -> None:
        with self._lock:
            self._num_open -= 1
            if self._num_open == 0:
                self._sink.end()

    def abandoned(self) -> bool:
        return self._sink.abandoned()


class RowSink:
    """The sink of one row: its error is a delta, because the error of a Triton request is that of all its rows."""

    def __init__(self, shared: SharedSink, request_id: str) -> None:
        self._shared = shared
        self._request_id = request_id

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        self._shared.send(emissions, ends_row=final)

    def end(self) -> None:
        self._shared.end_row()

    def fail(self, error: RequestError) -> None:
        try:
            self._shared.send([Emission(self._request_id, (), 0, to_wire(error), 0, NOT_REPORTED, 0)], ends_row=True)
        except Exception:
            self._shared.end_row()  # the error of this row is lost; the other rows still need its end
            raise

    def abandoned(self) -> bool:
        return self._shared.abandoned()
