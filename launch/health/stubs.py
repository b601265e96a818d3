"""Notices that the process of a Python model died while tritonserver still runs.

Triton restarts the stub of a plain model at its next request, but not that of a decoupled one, and before
python_backend 395a780 (2025-12) it even goes on calling that model ready. So every stub of a server that became
ready is watched; one that is gone although Triton still lists its model as loaded is a fault.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from launch.descendants import command_line, marked_processes
from launch.health.faults import Fault
from launch.kserve import TritonAccess
from launch.tritonserver import STUB
from triton_repo.contract.api_key import KSERVE_KEY_HEADER
from triton_repo.contract.http_probe import probe
from triton_repo.contract.steps import step_engine


def stub_model(command: tuple[str, ...]) -> str | None:
    """The model that a process serves, if its command line is that of a stub.

    That is `STUB …/MODEL/VERSION/model.py REGION …`, with the name of the shared memory between it and Triton.
    """
    if len(command) < 3 or Path(command[0]).name != STUB:
        return None
    return Path(command[1]).parent.parent.name


class StubWatch:
    """Finds the models that lost their process; for one tritonserver at a time, restarts included.

    Args:
        others: models beside the engines.
        spares_others: that one of them lost its process is no fault, since nothing could load it again alone.
    """

    def __init__(
        self, mark: str, access: TritonAccess, others: Collection[str] = (), *, spares_others: bool = False
    ) -> None:
        self.mark = mark
        self._others = frozenset(others)
        self._spared = self._others if spares_others else frozenset[str]()
        self._access = access
        self._stubs: dict[int, str] = {}  # process id -> model
        self._regions: dict[str, set[str]] = {}  # model -> shared memory of its processes, those that died included

    async def find_fault(self) -> Fault | None:
        stubs = self._stubs
        gone = {model for pid, model in stubs.items() if stub_model(command_line(pid)) != model}
        if stubs and not gone:
            return None
        running = self._running_stubs()
        # Triton starts some again at their next request; of a model with several instances, others still run.
        now, before = Counter(running.values()), Counter(stubs.values())
        lost = {model for model in gone if now[model] < before[model]} - self._spared
        # A model that Triton itself took down, as it does at its end, has no process and is not loaded either.
        dead = sorted(lost & await asyncio.to_thread(self._loaded_models)) if lost else []
        if self._stubs is stubs:
            self._stubs = running | {pid: model for pid, model in stubs.items() if model in dead[1:]}
        if not dead:
            return None
        at_fault = dead[0] if dead[0] in self._others else step_engine(dead[0])
        return Fault(f"the process of model {dead[0]} died", at_fault)

    def look_again(self) -> None:
        """Models have been loaded, and have other processes."""
        self._stubs = {}

    def take_regions(self, models: Iterable[str]) -> set[str]:
        """The shared memory of the processes that these models have had, and have no more."""
        return set().union(*(self._regions.pop(model, set()) for model in models))

    def _running_stubs(self) -> dict[int, str]:
        running = {}
        for pid in marked_processes(self.mark):
            command = command_line(pid)
            if model := stub_model(command):
                running[pid] = model
                self._regions.setdefault(model, set()).add(command[2])
        return running

    def _loaded_models(self) -> set[str]:
        url = f"{self._access.http}/v2/repository/index"
        headers = {KSERVE_KEY_HEADER: self._access.key} if self._access.key else {}
        answer = probe(url, b'{"ready": true}', headers=headers)
        if answer is None or answer.status != 200:
            return set()  # Triton itself is gone or shuts down, which the supervisor notices
        listed = json.loads(answer.body)
        return {model["name"] for model in listed} if isinstance(listed, list) else set()
