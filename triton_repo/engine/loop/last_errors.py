"""The errors of clients whom the engine loop cannot answer any more: its thread hangs, or has ended."""

from __future__ import annotations

import sys
import threading
import traceback
from queue import Empty, SimpleQueue
from typing import Final

from triton_repo.contract.errors import RequestError
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.commands import AddAdapter, CloseAdapter, Command, Submit, Subscribe
from triton_repo.engine.loop.delivery import send_error
from triton_repo.engine.loop.live_requests import LiveRequests

_TIMEOUT_S: Final = 2.0


def send_last_errors(error: RequestError, live: LiveRequests, channels: Channels, inbox: SimpleQueue[Command]) -> None:
    """Send `error` to every request that is live or still waits in the inbox, and end the channels.

    Nothing but the inbox is changed, since the loop's thread may hang in the middle of a change. It may also hang
    while it sends something, so this takes a bounded time, whether everything could be sent or not.
    """

    def send() -> None:
        for one in live:
            send_error(one.request_id, one.sink, error)
        reject_waiting(error, inbox)
        for name in channels:
            if (outlet := channels.get(name)) is not None:
                send_error(name, outlet.sink, error)

    sender = threading.Thread(target=send, name="engine-last-errors", daemon=True)
    sender.start()
    sender.join(_TIMEOUT_S)


def reject_waiting(error: RequestError, inbox: SimpleQueue[Command]) -> None:
    """Empty the inbox of a loop that reads it no more. Any number of threads may do so at once."""
    while True:
        try:
            command = inbox.get_nowait()
        except Empty:
            return
        if isinstance(command, Submit):
            send_error(command.request_id, command.sink, error)
        elif isinstance(command, Subscribe):
            send_error(command.channel, command.sink, error)
        elif isinstance(command, AddAdapter | CloseAdapter):
            command.done.set_exception(error)


def stack_of(thread: threading.Thread) -> str:
    """Where a thread is just now, for the log."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "its thread has ended"
