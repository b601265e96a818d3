"""A script, `python tether.py PARENT SIGNAL COMMAND…`: becomes COMMAND, which gets SIGNAL when the process PARENT dies.

So a supervisor that is killed with SIGKILL, and cannot stop anything any more, leaves no server behind. A script
in front of the command and not a `preexec_fn`, because Python code between fork and exec may deadlock in a process
with threads. With another SIGNAL than SIGTERM, SIGTERM is blocked in COMMAND and all that it starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
COMMAND_NOT_RUN = 127  # what a shell answers for a command that it cannot run


def tethered(command: Sequence[str], stop_signal: signal.Signals) -> tuple[str, ...]:
    """`command`, tied to the life of the calling process (exactly: of the thread that starts it)."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(stop_signal)), *command)


def main() -> None:
    parent, stop_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if stop_signal != signal.SIGTERM:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop_signal)
    if os.getppid() != parent:  # it died before prctl, so no signal will ever come
        sys.exit(COMMAND_NOT_RUN)
    try:
        os.execv(command[0], command)  # noqa: S606 - a shell would be in the way
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(COMMAND_NOT_RUN)


if __name__ == "__main__":
    main()
