"""Signs of life: of a process, what CPU time it has used; of anything, for how long it has given none or lasted."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_UTIME: Final = 11  # fields 14 and 15 of /proc/PID/stat, counted from after the name: user and system time


def cpu_ticks(pid: int) -> int:
    """CPU time that all threads of a process have used, in ticks of 10 ms; 0 if there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return int(fields[_UTIME]) + int(fields[_UTIME + 1])


class Silence:
    """For how long a sign of life has stayed the same, as far as its observer was there to see.

    Only time between two looks counts, and little of a long pause: an observer that was stopped itself, with all that
    it observes (a suspended machine, a paused container), must not take its own absence for another's silence.
    """

    def __init__(self, longest_look_s: float = 1.0) -> None:
        """`longest_look_s`: what counts at most of the time between two looks."""
        self._longest_look_s = longest_look_s
        self._sign: object = None
        self._looked_s: float | None = None
        self._silent_s = 0.0

    def look(self, sign: object, now_s: float) -> float:
        """Seconds of silence so far; `now_s` is on the monotonic clock."""
        passed_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        self._silent_s = self._silent_s + min(passed_s, self._longest_look_s) if sign == self._sign else 0.0
        self._sign, self._looked_s = sign, now_s
        return self._silent_s


class Age:
    """How long a piece of work of this process has lasted, as far as the process itself ran. Any thread may look.

    As with `Silence`, little of a long time between two looks counts: the process was stopped. Unless it has used CPU
    time: then it was at a step that keeps Python's lock, and nobody could look.
    """

    def __init__(self, longest_look_s: float = 1.0) -> None:
        self._longest_look_s = longest_look_s
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self._age_s = 0.0
        self._looked_s = 0.0
        self._cpu_s = time.process_time()

    def look(self, began_s: float | None) -> float:
        """Seconds so far of what began at `began_s`, on the monotonic clock; 0 if that is to come, or nothing has."""
        with self._lock:
            now_s, cpu_s = time.monotonic(), time.process_time()
            began_s = now_s if began_s is None else min(began_s, now_s)
            if began_s != self._began_s:
                self._began_s, self._age_s, self._looked_s = began_s, 0.0, began_s
            self._age_s += min(now_s - self._looked_s, max(self._longest_look_s, cpu_s - self._cpu_s))
            self._looked_s, self._cpu_s = now_s, cpu_s
            return self._age_s
