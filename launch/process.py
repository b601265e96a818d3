"""One server process: its start, its output, whether it is ready, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

from launch.descendants import MARK
from launch.health.answer_watch import AnswerWatch
from launch.health.faults import Fault, first_fault
from launch.journal import LogLine, last_words, read_lines, why_not_loaded
from launch.service import Service
from launch.shared_memory import hide_shared_memory
from launch.wrappers.tether import tethered
from triton_repo.contract.health.liveness import cpu_ticks
from triton_repo.contract.http_probe import http_status

REMEMBERED_LINES = 200
READY_POLL_S = 0.1
END_TIMEOUT_S = 5.0
HURRY_TIMEOUT_S = 5.0  # for what is told twice


class Process:
    """One run of a service, in a session of its own: a terminal's Ctrl-C reaches only the supervisor."""

    def __init__(self, service: Service, child: asyncio.subprocess.Process, output: int, log: LogLine) -> None:
        self.service = service
        self._child = child
        self._log = log
        self._lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._exit = asyncio.create_task(child.wait())
        self._exit.add_done_callback(lambda _: self._served_until_now())
        self._pump = asyncio.create_task(self._pump_output(output))
        self._ready_s: float | None = None
        self._served_until_s: float | None = None
        self.fault: str | None = None
        self.missing: Mapping[str, str] = {}  # part -> why it is not there

    @classmethod
    async def start(cls, service: Service, log: LogLine) -> Process:
        # A pipe of our own: asyncio's `wait()` for a process with its pipes waits, in some versions of Python,
        # until the last grandchild has closed them.
        read_end, write_end = os.pipe()
        try:
            child = await asyncio.create_subprocess_exec(
                *tethered((*service.argv, *service.more_arguments()), service.stop_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env={**service.environment, MARK: service.mark},
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return cls(service, child, read_end, log)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._exit.done()

    @property
    def served_s(self) -> float:
        """From when it was ready until it ended or was found at fault; 0 if it never was ready, or still serves."""
        if self._ready_s is None or self._served_until_s is None:
            return 0.0
        return self._served_until_s - self._ready_s

    def _served_until_now(self) -> None:
        if self._served_until_s is None:
            self._served_until_s = time.monotonic()

    async def becomes_ready(self) -> bool:
        """Wait until it is ready (True), has ended or is too late (False)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.service.start_timeout_s
        while not self.ended and loop.time() < deadline:
            if await _all_answer(self.service.ready_urls):
                if await self._misses_all_parts():
                    return False
                hide_shared_memory(self.service.shm_prefix)
                self._ready_s = time.monotonic()
                return True
            await asyncio.wait({self._exit}, timeout=READY_POLL_S)
        if self.ended:
            await self.end()  # which also reads the rest of its output
        return False

    async def _misses_all_parts(self) -> bool:
        not_wanted = self.service.not_wanted()
        parts = {name: url for name, url in self.service.parts.items() if name not in not_wanted}
        asked = {**parts, **self.service.others}
        missing = [name for name, url in asked.items() if not await _all_answer((url,))]
        self.missing = {name: why_not_loaded(name, self._lines) for name in missing}
        for name, reason in self.missing.items():
            self._log("conch", f"{name} is not served: {reason}")
        return bool(parts) and parts.keys() <= self.missing.keys()

    async def fails(self) -> None:
        """Wait until it has ended, or is at fault and was killed for it."""
        fault = asyncio.create_task(self._fatal_fault())
        await asyncio.wait({self._exit, fault}, return_when=asyncio.FIRST_COMPLETED)
        if fault.done() and not self._exit.done():
            self.fault = fault.result().why
            self._served_until_now()
        fault.cancel()
        await self.end()

    async def _fatal_fault(self) -> Fault:
        """Wait for one that is not mended by serving one engine again. The others are watched while that is done."""
        service = self.service
        answers = AnswerWatch(service.live_url, service.max_silence_s, service.frozen_s, lambda: cpu_ticks(self.pid))
        recoveries: dict[str, asyncio.Task[Fault | None]] = {}
        watch = None
        try:
            while True:
                watch = asyncio.create_task(first_fault((answers.find_fault, *service.find_faults)))
                await asyncio.wait({watch, *recoveries.values()}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done() and (fault := watch.result()).engine not in recoveries:
                    recoveries[fault.engine] = asyncio.create_task(self._recover(fault))
                watch.cancel()  # what it was about to find may be of an engine that is served again
                for engine in [engine for engine, recovery in recoveries.items() if recovery.done()]:
                    if unmended := recoveries.pop(engine).result():
                        return unmended
        finally:
            for task in (watch, *recoveries.values()):
                if task:
                    task.cancel()

    async def _recover(self, fault: Fault) -> Fault | None:
        """None if it concerned one engine alone, which is served again; else the fault."""
        if not fault.engine or self.service.recover is None:
            return fault
        self._log("conch", fault.why)
        return None if await self.service.recover(fault.engine, self.pid, self._log) else fault

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop it; SIGKILL to what is left after `stop_timeout_s`, or soon after SIGINT once `hurry` is set."""
        if not self.ended:
            self._signal(self.service.stop_signal)
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait(
                {self._exit, hurried}, timeout=self.service.stop_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            hurried.cancel()
            if hurry.is_set():
                self._signal(signal.SIGINT)
                await asyncio.wait({self._exit}, timeout=HURRY_TIMEOUT_S)
        await self.end()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._child.send_signal(number)

    async def end(self) -> None:
        """Kill what still runs, and leave nothing behind."""
        await self.service.clean_up()
        await asyncio.wait({self._exit, self._pump}, timeout=END_TIMEOUT_S)

    def why_not_ready(self) -> str:
        """One sentence for a process that did not become ready."""
        if not self.ended and self.missing:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())
            return f"{self.service.name} has nothing to serve: {reasons}"
        if not self.ended:
            return f"{self.service.name} was not ready after {self.service.start_timeout_s:g} s{self._said()}"
        return f"{self.service.name} {self.how_it_ended()} before it was ready{self._said()}"

    def why_it_failed(self) -> str:
        return f"{self.service.name} {self.how_it_ended()}{self._said()}"

    def how_it_ended(self) -> str:
        if self.fault:
            return f"was stopped because {self.fault}"
        if not self.ended:
            return "cannot be killed"
        code = self._exit.result()
        if code >= 0:
            return f"ended with exit status {code}"
        return f"was killed by {signal.Signals(-code).name}"

    def _said(self) -> str:
        if self.fault:  # the process did not end by itself, so its output is about something else
            return ""
        words = last_words(filter(self.service.line_matters, self._lines)) or last_words(self._lines)
        return f": {words}" if words else ""

    async def _pump_output(self, output: int) -> None:
        reader = asyncio.StreamReader()
        pipe = open(output, "rb", buffering=0)  # noqa: SIM115 - the transport closes it
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in read_lines(reader):
                self._lines.append(line)
                if self.service.line_matters(line):
                    self._log(self.service.name, line)
        finally:
            transport.close()


async def _all_answer(urls: tuple[str, ...]) -> bool:
    for url in urls:
        if await asyncio.to_thread(http_status, url) != 200:
            return False
    return True
