"""A gateway of several worker processes, and the supervisor that restarts them.

uvicorn has a supervisor of its own, but it restarts a dead worker at once and without end, waits for a stop without a
bound, and ignores a second signal meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

from gateway.admission.tally import Tally, create_slots
from gateway.processes.shared_port import SharedPort
from gateway.settings import METRICS_DIRECTORY_VARIABLE, Settings
from gateway.store.database import STORE_FILE, check_store
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.liveness import Silence, cpu_ticks
from triton_repo.contract.health.restart_policy import RestartPolicy
from triton_repo.private_directory import private_directory

logger = logging.getLogger(__name__)

TALLY_FILE: Final = "open-requests"
BEAT_S: Final = 0.5

_BACKLOG: Final = 2048  # as uvicorn's
_START_TIMEOUT_S: Final = 120.0  # about a second is usual
_STOP_MARGIN_S: Final = 10.0  # of a worker, beyond the grace for open requests
_HURRY_S: Final = 5.0  # for a worker after the second signal
_MANY_BEATS: Final = 4096
_BUSY_FACTOR: Final = 3


class Worker:
    """One run of one worker."""

    def __init__(self, slot: int, process: asyncio.subprocess.Process, link: socket.socket) -> None:
        self.slot = slot
        self._process = process
        self._link = link
        self._serves_since_s: float | None = None
        self._ended_s: float | None = None

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

    async def serves(self, timeout_s: float = _START_TIMEOUT_S) -> bool:
        """Wait until it serves (True), or has ended (False): it is killed if it does not serve within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                if await asyncio.get_running_loop().sock_recv(self._link, 1):
                    self._serves_since_s = time.monotonic()
                    return True
        except ConnectionError:
            pass
        except TimeoutError:
            logger.error("gateway worker %d did not serve within %g s", self.slot, timeout_s)
            self.signal(signal.SIGKILL)
        await self.ends()
        return False

    async def ends_or_hangs(self, hang_timeout_s: float) -> None:
        """Wait until it has ended; it is killed if its event loop gives no sign of life for so long and it uses no CPU
        time, or for several times as long if it does. Returns at once if it has ended already."""
        ended = asyncio.create_task(self._process.wait())
        num_beats, beats, life = 0, Silence(), Silence()
        while self.runs:
            await asyncio.wait({ended}, timeout=BEAT_S)
            num_beats, now_s = num_beats + self._num_beats(), time.monotonic()
            silent_s = beats.look(num_beats, now_s)
            frozen_s = life.look((num_beats, cpu_ticks(self._process.pid)), now_s)
            if frozen_s >= hang_timeout_s or silent_s >= _BUSY_FACTOR * hang_timeout_s:
                logger.error("gateway worker %d has given no sign of life for %.0f s", self.slot, silent_s)
                self.signal(signal.SIGKILL)
                break
        await self.ends()

    def _num_beats(self) -> int:
        """Those that have arrived since it was asked before."""
        with suppress(BlockingIOError, ConnectionError):
            return len(self._link.recv(_MANY_BEATS))
        return 0

    async def ends(self) -> None:
        await self._process.wait()
        self._link.close()
        if self._ended_s is None:
            self._ended_s = time.monotonic()

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    @property
    def served_s(self) -> float:
        """From when it served until it ended; 0 if it never served, or still does."""
        if self._serves_since_s is None or self._ended_s is None:
            return 0.0
        return self._ended_s - self._serves_since_s

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
        self._policy = RestartPolicy()
        self._workers: dict[int, Worker] = {}
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM, then drain; a second signal, if it is SIGINT, ends the grace for requests.

        Raises:
            LaunchError: a worker ended before it served, or had to be killed.
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
            one.listen(_BACKLOG)  # first of all: from now on no other program can claim the port
        worker = await self._start(slot, sockets)
        if not await worker.serves():
            raise LaunchError(f"{worker} before it could serve")
        logger.info("gateway worker %d serves", slot)
        failures = 0
        while True:
            await worker.ends_or_hangs(self._settings.hang_timeout_s)
            Tally.shared(self._directory / TALLY_FILE, slot).clear()
            failures = self._policy.failures(failures, worker.served_s)
            worker, failures = await self._start_again(slot, failures, str(worker))
            if await worker.serves():
                logger.info("gateway worker %d serves again", slot)

    async def _start_again(self, slot: int, failures: int, problem: str) -> tuple[Worker, int]:
        """A new worker, and the failures in a row until it was started."""
        while True:
            delay_s = self._policy.delay_s(failures)
            logger.error("%s; starting it again in %g s", problem, delay_s)
            await asyncio.sleep(delay_s)
            try:
                return await self._start(slot, self._port.sockets()), failures
            except OSError as error:  # such as no memory, which may have ended the worker in the first place
                failures = self._policy.failures(failures, served_s=0)
                problem = f"gateway worker {slot} cannot be started: {error}"

    async def _start(self, slot: int, sockets: Sequence[socket.socket]) -> Worker:
        worker = self._workers[slot] = await Worker.start(slot, sockets, self._flags, self._directory)
        return worker

    async def _stop_all(self) -> None:
        self._port.close()
        ended: asyncio.Future[Any] = asyncio.gather(*(worker.ends() for worker in self._workers.values()))
        hurried: asyncio.Future[Any] = asyncio.create_task(self._hurried.wait())
        self._signal_all(signal.SIGTERM)
        timeout_s = self._settings.shutdown_grace_s + _STOP_MARGIN_S
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
    """`Workers.run` on a port and with a temporary directory of its own.

    Raises:
        LaunchError: the port cannot be listened on; also what `Workers.run` raises.
    """
    with (
        closing(SharedPort(settings.host, settings.port)) as port,
        private_directory("conch-gateway-") as directory,
    ):
        create_slots(directory / TALLY_FILE, settings.workers)
        if settings.store is None:  # one for all workers
            check_store(directory / STORE_FILE)
            flags = (*flags, "--store", str(directory / STORE_FILE))
        logger.info("%d workers on %s, port %d", settings.workers, settings.host, port.number)
        await Workers(settings, flags, port, directory).run()
