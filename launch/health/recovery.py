"""Starts one engine again in a tritonserver that goes on serving the others.

Triton 2.51 does not start the process of a decoupled Python model again. It unloads and loads the model when it is told
to, but keeps the requests that the dead process had, and once it has those it does not load the model a second time. So
this is done once for each engine of several; otherwise the server is itself started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from contextlib import suppress

from launch.descendants import command_line, marked_processes, parent_of
from launch.health.reports import EngineReports
from launch.health.stubs import StubWatch, stub_model
from launch.journal import LogLine
from launch.kserve import TritonAccess
from triton_repo.contract.http_probe import probe
from triton_repo.contract.steps import STEPS, step_model

LOAD_TIMEOUT_S = 900.0
_UNLOAD = b'{"parameters": {"unload_dependents": true}}'


class EngineRecovery:
    """Of the `engines` of one service, whose processes have the `mark`; its Triton lets models be loaded.

    `stubs` watches them.
    """

    def __init__(
        self, engines: Collection[str], mark: str, access: TritonAccess, reports: EngineReports, stubs: StubWatch
    ) -> None:
        self._engines = frozenset(engines)
        self._recovered: set[str] = set()
        self._mark = mark
        self._access = access
        self._reports = reports
        self._stubs = stubs

    async def recover(self, engine: str, server: int, log: LogLine) -> bool:
        """Whether `engine` is served again, and the others have gone on; `server` is tritonserver's id."""
        if engine not in self._engines or len(self._engines) == 1 or engine in self._recovered:
            return False
        self._recovered.add(engine)
        self._reports.lose(engine)
        self._kill_processes(engine, server)
        log("conch", f"loading {engine} again")
        if not (await self._call(engine, "unload", _UNLOAD) and await self._call(engine, "load", b"{}")):
            return False
        if not self._is_whole(engine):
            return False
        self._stubs.look_again()
        self._reports.bring_back(engine)
        log("conch", f"{engine} is ready again")
        return True

    def forget(self) -> None:
        """The server has ended, and all that its engines had lost with it."""
        self._recovered.clear()
        self._reports.forget()

    def _kill_processes(self, engine: str, server: int) -> None:
        """The stubs of the engine that still run, and what those that died have left: MPI workers, say."""
        models = {step_model(engine, step) for step in STEPS}
        for pid in marked_processes(self._mark):
            if stub_model(command_line(pid)) in models or not _descends(pid, server):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _is_whole(self, engine: str) -> bool:
        """Triton may answer that it has loaded what it has not."""
        running = {stub_model(command_line(pid)) for pid in marked_processes(self._mark)}
        return running >= {step_model(engine, step) for step in STEPS}

    async def _call(self, engine: str, verb: str, body: bytes) -> bool:
        url = f"{self._access.http}/v2/repository/models/{engine}/{verb}"
        answer = await asyncio.to_thread(probe, url, "POST", body, LOAD_TIMEOUT_S)
        return answer is not None and answer.status == 200


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parent_of(pid)
    return False
