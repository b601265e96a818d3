"""Clients on the machine of the server that they ask: what they wait for a processor is no doing of the server."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_NICE: Final = -10
_GROUP: Final = Path("/proc/self/autogroup")  # a session's, which Linux weighs as one beside others: sched(7)


def go_first() -> None:
    """Let this process, in a session of its own from now on, run as soon as it can; without the privilege as before."""
    with suppress(OSError):
        os.setsid()  # or all of the terminal's session would go first, also afterwards
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        _GROUP.write_text(str(_NICE), encoding="ascii")
