"""A gateway of several processes, and the one that keeps them up.

uvicorn has a supervisor of its own, but it starts a dead worker again at once and for ever, waits for a stop without
a bound, and does not hear a second signal meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

from gateway.answers.tally import Tally, create_slots
from gateway.processes.shared_port import SharedPort
from gateway.settings import METRICS_DIRECTORY_VARIABLE, Settings
from triton_repo.contract.errors import LaunchError

logger = logging.getLogger(__name__)

TALLY_FILE: Final = "open-requests"

_BACKLOG: Final = 2048  # as uvicorn's
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
_HEALTHY_S: Final = 60.0  # a worker that served this long has a clean record
_LAST_STEPS_S: Final = 10.0  # of a worker, beyond the grace for open requests
_HURRY_S: Final = 5.0  # for a worker that was told twice


class Worker:
    """One run of one worker."""

    def __init__(self, slot: int, process: asyncio.subprocess.Process, link: socket.socket) -> None:
        self.slot = slot
        self._process = process
        self._link = link
        self._serves_since_s = float("inf")

    @classmethod
    async def start(cls, slot: int, sockets: Sequence[socket.socket], flags: Sequence[str], directory: Path) -> Worker:
        """Takes the sockets over. The worker is a new program and not a fork: no threads or locks of gRPC are copied,
        and prometheus_client, which looks for its directory when it is imported, finds it."""
        link, theirs = socket.socketpair()
        link.setblocking(False)
        listeners = [listener.fileno() for listener in sockets]
        arguments = (str(slot), str(theirs.fileno()), ",".join(map(str, listeners)), *flags)
        with ExitStack() as unless_started, ExitStack() as handed_over:
            unless_started.callback(link.close)
            for inherited in (theirs, *sockets):
                handed_over.callback(inherited.close)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.processes.worker", *arguments),
                pass_fds=(theirs.fileno(), *listeners),
                env={**os.environ, METRICS_DIRECTORY_VARIABLE: str(directory)},
                start_new_session=True,  # a terminal's Ctrl-C reaches only the parent
            )
            unless_started.pop_all()
        return cls(slot, process, link)

    async def serves(self) -> bool:
        """Wait until it serves (True) or has ended (False)."""
        with suppress(ConnectionError):
            if await asyncio.get_running_loop().sock_recv(self._link, 1):
                self._serves_since_s = time.monotonic()
                return True
        await self.ends()
        return False

    async def ends(self) -> None:
        await self._process.wait()
        self._link.close()

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    @property
    def was_healthy(self) -> bool:
        return time.monotonic() - self._serves_since_s >= _HEALTHY_S

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def __str__(self) -> str:
        code = self._process.returncode
        end = "runs" if code is None else f"ended with exit status {code}"
        if code is not None and code < 0:
            end = f"was killed by {signal.Signals(-code).name}"
        return f"gateway worker {self.slot} (process {self._process.pid}) {end}"


class Workers:
    """The workers of one gateway; `flags` are the command line that its `settings` came from."""

    def __init__(self, settings: Settings, flags: Sequence[str], port: SharedPort, directory: Path) -> None:
        self._settings = settings
        self._flags = flags
        self._port = port
        self._directory = directory
        self._workers: dict[int, Worker] = {}
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM, then drain; a second signal, if it is SIGINT, ends the grace for requests.

        Raises:
            LaunchError: a worker ended before it could serve, or had to be killed.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._request_stop, number)
        keepers = [asyncio.create_task(self._keep_up(slot)) for slot in range(self._settings.workers)]
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({*keepers, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*keepers, stopping):
            task.cancel()
        outcomes = await asyncio.gather(*keepers, return_exceptions=True)
        await self._stop_all()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def _request_stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set() and number == signal.SIGINT:
            self._hurried.set()
        self._stopping.set()

    async def _keep_up(self, slot: int) -> None:
        sockets = self._port.sockets()
        for one in sockets:
            one.listen(_BACKLOG)  # before anything takes time, so that nobody else can claim the port any more
        worker = await self._start(slot, sockets)
        if not await worker.serves():
            raise LaunchError(f"{worker} before it could serve")
        logger.info("gateway worker %d serves", slot)
        failures = 0
        while True:
            await worker.ends()
            Tally.shared(self._directory / TALLY_FILE, slot).set(0)
            failures = 1 if worker.was_healthy else failures + 1
            delay_s = min(_FIRST_DELAY_S * 2 ** (failures - 1), _LONGEST_DELAY_S)
            logger.error("%s; starting it again in %g s", worker, delay_s)
            await asyncio.sleep(delay_s)
            try:
                worker = await self._start(slot, self._port.sockets())
            except OSError as error:  # such as no memory, which may have ended the worker in the first place
                logger.error("gateway worker %d cannot be started: %s", slot, error)
                continue
            if await worker.serves():
                logger.info("gateway worker %d serves again", slot)

    async def _start(self, slot: int, sockets: Sequence[socket.socket]) -> Worker:
        worker = self._workers[slot] = await Worker.start(slot, sockets, self._flags, self._directory)
        return worker

    async def _stop_all(self) -> None:
        self._port.close()
        ended: asyncio.Future[Any] = asyncio.gather(*(worker.ends() for worker in self._workers.values()))
        hurried: asyncio.Future[Any] = asyncio.create_task(self._hurried.wait())
        self._signal_all(signal.SIGTERM)
        timeout_s = self._settings.shutdown_grace_s + _LAST_STEPS_S
        await asyncio.wait({ended, hurried}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            self._signal_all(signal.SIGINT)
            await asyncio.wait({ended}, timeout=_HURRY_S)
        if not ended.done():
            hung = [str(worker.slot) for worker in self._workers.values() if worker.runs]
            self._signal_all(signal.SIGKILL)
            await ended
            raise LaunchError(f"gateway workers that did not stop were killed: {', '.join(hung)}")

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            worker.signal(number)


async def serve_in_workers(settings: Settings, flags: Sequence[str]) -> None:
    """What `Workers.run` does, on a port and with a directory of its own.

    Raises:
        LaunchError: nobody can listen on the port; also what `Workers.run` raises.
    """
    with (
        closing(SharedPort(settings.host, settings.port)) as port,
        tempfile.TemporaryDirectory(prefix="conch-gateway-") as name,
    ):
        directory = Path(name)
        create_slots(directory / TALLY_FILE, settings.workers)
        logger.info("%d workers on %s, port %d", settings.workers, settings.host, port.number)
        await Workers(settings, flags, port, directory).run()
