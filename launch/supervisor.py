"""Keeps a chain of servers up, and stops it without losing a request or leaving a process.

Start: in order, each ready before the next. A server that ends is started again, later each time, and given up when
it keeps ending soon after it became ready; the others run on meanwhile. Stop: in reverse order, so that the gateway
drains while the engines still answer. A second signal ends the grace for open requests.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence

from launch.journal import LogLine
from launch.process import Process
from launch.service import Service
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.restart_policy import RestartPolicy

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
MAX_FAILURES = 5


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGHUP too, which says that the terminal is closed, unless `nohup` has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return STOP_SIGNALS if ignored else (*STOP_SIGNALS, signal.SIGHUP)


class Supervisor:
    def __init__(self, services: Sequence[Service], log: LogLine, policy: RestartPolicy | None = None) -> None:
        self._services = tuple(services)
        self._log = log
        self._policy = policy or RestartPolicy(max_failures=MAX_FAILURES)
        self._processes: dict[str, Process] = {}
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def missing(self) -> frozenset[str]:
        """The parts of the servers that are not there, though their servers are."""
        return frozenset(name for process in self._processes.values() for name in process.missing)

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until a stop signal. LaunchError if a server cannot start or stay up; nothing is left then."""
        loop = asyncio.get_running_loop()
        numbers = stop_signals()
        for number in numbers:
            loop.add_signal_handler(number, self.request_stop)
        serving = asyncio.create_task(self._serve(on_ready))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            stopping.cancel()
            (outcome, _) = await asyncio.gather(serving, stopping, return_exceptions=True)
            await self._stop_all()
            for number in numbers:
                loop.remove_signal_handler(number)
        if isinstance(outcome, Exception):
            raise outcome

    def request_stop(self) -> None:
        """The first call drains and stops; the second stops at once."""
        if self._stopping.is_set():
            self._hurry.set()
        else:
            self._log("conch", "stopping; once more to stop at once")
        self._stopping.set()

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        keepers: list[asyncio.Task[None]] = []
        try:
            for service in self._services:
                process = await self._start(service)
                if not await _while_kept_up(process.becomes_ready(), keepers):
                    raise LaunchError(process.why_not_ready())
                keepers.append(asyncio.create_task(self._keep_up(process)))
            on_ready()
            await asyncio.gather(*keepers)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _start(self, service: Service) -> Process:
        process = self._processes[service.name] = await Process.start(service, self._log)
        return process

    async def _keep_up(self, process: Process) -> None:
        failures = 0
        while True:
            await process.fails()
            failures = self._policy.failures(failures, process.served_s)
            if self._policy.gives_up(failures):
                raise LaunchError(f"{process.why_it_failed()} (it failed {failures} times in a row: giving up)")
            delay_s = self._policy.delay_s(failures)
            self._log("conch", f"{process.why_it_failed()}; starting it again in {delay_s:g} s")
            await asyncio.sleep(delay_s)
            process = await self._start_again(process.service, failures)
            if await process.becomes_ready():
                self._log("conch", f"{process.service.name} is ready again")
            else:
                process.fault = None if process.ended else "it did not become ready in time"
                await process.end()

    async def _start_again(self, service: Service, failures: int) -> Process:
        """As often as it has to be tried where this machine has no file, process or memory left for it."""
        while True:
            try:
                return await self._start(service)
            except OSError as error:
                failures += 1
                delay_s = self._policy.delay_s(failures)
                self._log("conch", f"{service.name} cannot be started: {error}; trying again in {delay_s:g} s")
                await asyncio.sleep(delay_s)

    async def _stop_all(self) -> None:
        for service in reversed(self._services):
            if process := self._processes.get(service.name):
                await process.stop(self._hurry)
            await service.clean_up()  # also what a start that was cut short left


async def _while_kept_up(step: Coroutine[None, None, bool], keepers: Sequence[asyncio.Task[None]]) -> bool:
    """The outcome of `step`; the error of a keeper that gives up meanwhile, because it may never end then."""
    task = asyncio.create_task(step)
    try:
        done, _ = await asyncio.wait({task, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        if task not in done:
            await asyncio.gather(*done)
        return await task
    finally:
        task.cancel()
