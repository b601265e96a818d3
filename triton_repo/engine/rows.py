"""Several rows of one Triton request: each is answered by itself, and the request ends with the last of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from triton_repo.engine.outlet import Sink
from triton_repo.engine.stream import NOT_REPORTED, Emission
from triton_repo.errors import InvalidRequest, RequestError, to_wire
from triton_repo.tensors import ROW_IDS


def row_ids(rows: Sequence[Mapping[str, Sequence[Any]]]) -> list[str]:
    """The request id of each row.

    Raises:
        InvalidRequest: a row has none: its deltas could not be told from those of the others.
    """
    ids = [row.get(ROW_IDS.name, [b""])[0].decode(errors="replace") for row in rows]
    if not all(ids):
        raise InvalidRequest(f"{ROW_IDS.name}: each of {len(ids)} rows needs an id", ROW_IDS.name)
    return ids


class SharedSink:
    """The answering end that rows share. They may be answered from several threads."""

    def __init__(self, sink: Sink, num_rows: int) -> None:
        self._sink = sink
        self._open_rows = num_rows
        self._lock = threading.Lock()

    def send(self, emissions: Sequence[Emission], *, row_ends: bool) -> None:
        with self._lock:
            self._open_rows -= row_ends
            self._sink.send(emissions, final=not self._open_rows)

    def end_row(self) -> None:
        with self._lock:
            self._open_rows -= 1
            if not self._open_rows:
                self._sink.end()

    def abandoned(self) -> bool:
        return self._sink.abandoned()


class RowSink:
    """The answering end of one row: its failure is a delta, because the failure of a request is that of all rows."""

    def __init__(self, shared: SharedSink, request_id: str) -> None:
        self._shared = shared
        self._request_id = request_id

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        self._shared.send(emissions, row_ends=final)

    def end(self) -> None:
        self._shared.end_row()

    def fail(self, error: RequestError) -> None:
        self._shared.send([Emission(self._request_id, (), 0, to_wire(error), 0, NOT_REPORTED, 0)], row_ends=True)

    def abandoned(self) -> bool:
        return self._shared.abandoned()
