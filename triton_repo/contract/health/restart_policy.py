"""When to start a server process again that has ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Exponential backoff: `first_delay_s`, doubled with every failure in a row up to `longest_delay_s`.

    A process that served for `healthy_s` before it ended starts a new row; `max_failures` in one row are too many.
    """

    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    healthy_s: float = 60.0
    max_failures: int | None = None

    def failures(self, before: int, served_s: float) -> int:
        """Failures in a row, with the one just seen: `served_s` lies between becoming ready and the process's end."""
        return 1 if served_s >= self.healthy_s else before + 1

    def gives_up(self, failures: int) -> bool:
        return self.max_failures is not None and failures >= self.max_failures

    def delay_s(self, failures: int) -> float:
        return min(self.first_delay_s * 2.0 ** min(failures - 1, 64), self.longest_delay_s)
