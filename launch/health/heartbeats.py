"""Notices that the process of a Python model is stopped or hangs, by its heartbeat and the CPU time that it uses.

A process that neither beats nor uses CPU time is stopped or in a deadlock, and soon counts as hung. One that uses CPU
time may be at a long step of a library that keeps the GIL, as OpenVINO's does: that may take as long as any step may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from launch.descendants import command_line
from launch.health.faults import Fault
from launch.health.stubs import stub_model
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.heartbeat import Beat, read_beats
from triton_repo.contract.health.liveness import Silence, cpu_ticks
from triton_repo.contract.steps import step_engine

FROZEN_S: Final = 1.0  # without any sign of life: its engine is not ready
STUCK_S: Final = 10.0  # at one piece of work: its engine is not ready
_LIMIT_MARGIN_S: Final = 5.0  # for a process to end by itself at its own limit, which it can explain


class _Pulse:
    """The signs of life of one process."""

    def __init__(self, beat: Beat) -> None:
        self.pid = beat.pid
        self._lives = Silence()
        self._beats = Silence()

    def look(self, beat: Beat) -> tuple[float, float]:
        """Seconds without any sign of life, and at the same piece of work."""
        now_s = time.monotonic()
        frozen_s = self._lives.look((beat.number, cpu_ticks(beat.pid)), now_s)
        return frozen_s, beat.work_s + self._beats.look(beat.number, now_s)


class HeartbeatWatch:
    """For one tritonserver at a time, restarts included.

    Args:
        directory: of the beats.
        frozen_s: without a sign of life for so long, a process is at fault.
        report: is given the models that make no progress, and why, whenever that changes.
    """

    def __init__(self, directory: Path, frozen_s: float, report: Callable[[Mapping[str, str]], None]) -> None:
        self._directory = directory
        self._frozen_s = frozen_s
        self._report = report
        self._pulses: dict[str, _Pulse] = {}
        self._stalls: dict[str, str] = {}

    async def find_fault(self) -> Fault | None:
        return await asyncio.to_thread(self._look)

    def forget(self) -> None:
        """The server has ended, and its models with it."""
        self._pulses.clear()
        for file in self._directory.glob("*"):
            file.unlink(missing_ok=True)
        self._stalls = {}

    def _look(self) -> Fault | None:
        stalls: dict[str, str] = {}
        fault = None
        for model, beat in self._beats().items():
            if stub_model(command_line(beat.pid)) != model:
                continue  # it has ended, which is seen elsewhere
            pulse = self._pulses.get(model)
            if pulse is None or pulse.pid != beat.pid:
                pulse = self._pulses[model] = _Pulse(beat)
            frozen_s, stuck_s = pulse.look(beat)
            if frozen_s >= FROZEN_S:
                stalls[model] = "does not respond"
            elif stuck_s >= STUCK_S:
                stalls[model] = f"has made no progress for {stuck_s:.0f} s"
            if frozen_s >= self._frozen_s or (beat.limit_s and stuck_s >= beat.limit_s + _LIMIT_MARGIN_S):
                fault = Fault(f"model {model} {stalls[model]}", step_engine(model))
        self._say(stalls)
        return fault

    def _beats(self) -> Mapping[str, Beat]:
        try:
            return read_beats(self._directory)
        except FileNotFoundError:
            raise LaunchError(
                f"{self._directory} has been removed by another program, and with it what this run needs;"
                " XDG_RUNTIME_DIR can name a directory that none cleans up"
            ) from None

    def _say(self, stalls: dict[str, str]) -> None:
        if stalls != self._stalls:
            self._stalls = stalls
            self._report(stalls)
