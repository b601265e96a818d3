"""`python -m gateway.processes.worker SLOT LINK LISTENERS FLAG…`: one of the processes of a gateway.

`gateway.processes.supervisor` starts it.
SLOT is its number; LINK the file descriptor of a socket to its parent, which gets a byte when the worker serves, and
then another every `BEAT_S` while its event loop turns; its end of file means that the parent is gone. LISTENERS are
those of the sockets to serve, with commas between them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from gateway.admission.tally import Tally
from gateway.app import Application, create_app
from gateway.processes.log_output import log_to
from gateway.processes.server import Server, freeze_heap
from gateway.processes.supervisor import BEAT_S, TALLY_FILE
from gateway.settings import METRICS_DIRECTORY_VARIABLE, Settings, flag_values, load_settings


class Worker(Server):
    def __init__(self, app: Application, settings: Settings, link: socket.socket) -> None:
        super().__init__(app, settings)
        self._link = link

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._link.setblocking(False)
        asyncio.get_running_loop().add_reader(self._link, self._leave)
        self._beat()

    def _beat(self) -> None:
        with suppress(OSError):  # the parent is gone, as the reader will find, or it reads nothing for now
            self._link.send(b"\1")
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _leave(self) -> None:
        """Without a parent nothing would stop a worker, so it stops as if by a signal."""
        asyncio.get_running_loop().remove_reader(self._link)
        self.should_exit = True


def main(argv: list[str]) -> int:
    log_to(sys.stderr)
    slot, link, listeners, *flags = argv
    settings = load_settings(flag_values(flags))  # by the flags and environment of the parent, which has checked them
    tally = Tally.shared(Path(os.environ[METRICS_DIRECTORY_VARIABLE]) / TALLY_FILE, int(slot))
    server = Worker(create_app(settings, tally=tally), settings, socket.socket(fileno=int(link)))
    freeze_heap()
    server.run([socket.socket(fileno=int(listener)) for listener in listeners.split(",")])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
