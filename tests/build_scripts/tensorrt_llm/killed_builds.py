"""`python -m tests.build_scripts.tensorrt_llm.killed_builds WORKSHOP`: builds of one engine, each killed later.

Each is killed one change of a file later than the one before.

Prints the max_batch_size of the engine that stands after each kill: 10 more than the number of the change if it is new.

Every build is a fork of this process, which has already imported what a build needs, and does by itself the steps that
are children elsewhere: so a kill costs a fraction of a second, and there can be one for every change.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, ParamSpec

import torch  # noqa: F401 - once, before the forks, and so is what proves a tokenizer

import triton_repo.preprocess.prompt  # noqa: F401
from build_scripts.engine.store import EngineStore
from build_scripts.work.child import Child
from tests.build_scripts.conftest import Workshop

P = ParamSpec("P")

CHANGES = {"os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def die_at(change: int) -> None:
    """End this process at its `change`th change of the file system: before it, or with the file still empty."""
    left = change

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and not isinstance(args[0], int) and args[2] & FOR_WRITING
        if event in CHANGES or writes:
            left -= 1
            if left == 0:
                if writes:
                    os.open(args[0], args[2], 0o644)
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def call_here(_: Child, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    function(*args, **kwargs)


def build(workshop: Workshop, change: int) -> None:
    Child.call = call_here  # type: ignore[assignment, method-assign]
    die_at(change)
    workshop.build(f"[build]\ntensor_parallel = 2\nmax_batch_size = {change + 10}", runtime="tensorrt_llm")


def is_killed(workshop: Workshop, change: int) -> bool:
    """Whether a build gets as far as to its `change`th change."""
    fork = os.fork()
    if not fork:
        try:
            build(workshop, change)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(fork, 0)
    assert status in (0, signal.SIGKILL), f"change {change}: status {status}"
    return status == signal.SIGKILL


def standing(workshop: Workshop) -> int:
    """The max_batch_size of the engine, which is whole."""
    assert workshop.damage == []
    assert (workshop.engine / "model" / "checkpoint" / "config.json").is_file()
    return workshop.manifest.spec.build.max_batch_size


def main() -> None:
    workshop = Workshop(Path(sys.argv[1]))
    store, sizes = EngineStore(workshop.root / "built", "tiny"), list[int]()
    for change in count(1):
        if not is_killed(workshop, change):
            break
        sizes.append(standing(workshop))
        with store.lock(sys.exit):
            store.sweep()
        assert workshop.store == {"engine", "tiny.lock", "tiny.log"}, f"change {change}"
    json.dump(sizes, sys.stdout)


if __name__ == "__main__":
    main()
