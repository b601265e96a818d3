"""Where a gateway process writes its log: to standard error, the lines of the access log many at once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from logging.handlers import BufferingHandler
from typing import Final, TextIO

from gateway.http.request_id import ACCESS_LOGGER

FLUSH_S: Final = 0.25
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_CAPACITY: Final = 1_000  # lines


class BatchedHandler(BufferingHandler):
    """Writes the lines of logger `batched` together every FLUSH_S; any other line, and what waits before it, at once.

    A write for each request would wake the process that reads the log for each: half of what a line costs. Lines that
    no event loop can flush later are written at once. Lines that cannot be written, to a full disk or to a pipe without
    a reader, are dropped: no request fails for them.
    """

    def __init__(self, stream: TextIO, batched: str) -> None:
        super().__init__(_CAPACITY)
        self._stream = stream
        self._batched = batched
        self._flush_is_due = False

    def shouldFlush(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the name of logging's hook
        return record.name != self._batched or super().shouldFlush(record) or not self._flushes_later()

    def _flushes_later(self) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if not self._flush_is_due:
            self._flush_is_due = True
            loop.call_later(FLUSH_S, self.flush)
        return True

    def flush(self) -> None:
        with self.lock:  # type: ignore[union-attr]  # a handler that has been initialised has one
            records, self.buffer, self._flush_is_due = self.buffer, [], False
            if records:
                with suppress(OSError):
                    self._stream.write("".join(map(self._line, records)))
                    self._stream.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as logging's own handlers: a line that cannot be formatted is reported
            self.handleError(record)
            return ""


def log_to(stream: TextIO) -> None:
    """Send the log of this process to `stream`, from level INFO on. The rest is flushed when the process exits."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT, handlers=[BatchedHandler(stream, ACCESS_LOGGER)])
