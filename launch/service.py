"""What there is to know of a server that is to be kept up."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch.descendants import kill_marked
from launch.health.faults import FindFault
from launch.journal import LogLine
from launch.shared_memory import remove_shared_memory
from triton_repo.contract.health.model_orders import Order, Outcome


@dataclass(frozen=True, slots=True)
class Service:
    """A server to keep up.

    `environment` is the whole environment; `mark` is unique to this service on this machine. The process is ready
    once every one of `ready_urls` answers 200; of its `parts`, name -> URL, those that then do not are missing, and
    it is not ready if all are; none of those of `not_wanted` is. Of the `others`, name -> URL, any may be missing.
    `more_arguments` go behind `argv`, as they are when it starts. Each of `find_faults` is asked while it runs, and
    names what makes a restart necessary although the process lives; so does silence at `live_url` that is longer
    than `max_silence_s`, or than `frozen_s` while the process uses no CPU time. `recover` is told of the engine
    that alone is at fault, and of the process; it says whether the process can go on. `line_matters` picks the
    output lines that are shown. Each of `forget` is called when the server has ended. `carry_out` loads and unloads
    its parts while it runs.

    `stop_signal` is what stops it. If that is not SIGTERM, then SIGTERM is kept from it and from all that it starts: a
    service manager sends it to every process at once, and this one has to outlast those that need it.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    mark: str
    ready_urls: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    live_url: str = ""
    shm_prefix: str = ""
    sockets: tuple[Path, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    start_timeout_s: float = 900
    stop_timeout_s: float = 30
    max_silence_s: float = 30
    frozen_s: float = 10
    find_faults: tuple[FindFault, ...] = ()
    line_matters: Callable[[str], bool] = bool
    recover: Callable[[str, int, LogLine], Awaitable[bool]] | None = None
    forget: tuple[Callable[[], None], ...] = ()
    carry_out: Callable[[Order], Awaitable[Outcome]] | None = None
    more_arguments: Callable[[], tuple[str, ...]] = tuple
    not_wanted: Callable[[], Collection[str]] = frozenset

    async def clean_up(self) -> None:
        """End every process and remove every shared memory region and socket that the service left."""
        await kill_marked(self.mark)
        for forget in self.forget:
            forget()
        remove_shared_memory(self.shm_prefix)
        for path in self.sockets:
            path.unlink(missing_ok=True)
