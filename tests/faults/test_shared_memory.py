"""A /dev/shm that is full, while answers are streamed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.reports import report
from tests.faults.streams import HEADERS, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import CONCH, Server, serving
from tests.waiting import wait_for

STREAMS = 50
LARGE = "word " * 400_000  # more than its share of the memory that Triton has already

pytestmark = pytest.mark.fault


@pytest.fixture
def server(tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One with a small /dev/shm of its own."""
    mount = 'mount -t tmpfs -o size=200m tmpfs /dev/shm && exec "$@"'
    monkeypatch.setattr("tests.launch.server.CONCH", ("unshare", "-m", "sh", "-c", mount, "sh", *CONCH))
    with serving(write_spec(tmp_path, tokens_per_second=50), [free_port() for _ in range(4)]) as running:
        yield running


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="only root may mount")
def test_a_full_shared_memory_fails_no_open_stream_and_only_what_does_not_fit(
    server: Server,
) -> None:
    filler = Path(f"/proc/{server.process.pid}/root/dev/shm/filler")

    async def fill() -> None:
        with filler.open("wb") as file:
            free = os.statvfs(filler.parent)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)

    ends = asyncio.run(run_streams(server.url, STREAMS, 300, fill))
    small = ask(server, "x")
    large = ask(server, LARGE)
    filler.unlink()
    freed_s = time.monotonic()
    wait_for(lambda: ask(server, "x") == 200)
    report(
        "full shared memory",
        streams=kinds(ends),
        small_request=small,
        large_request=large,
        answers_again_after=time.monotonic() - freed_s,
    )
    assert kinds(ends) == {"complete": STREAMS}
    assert small in {200, 503}
    assert large == 503
    assert ask(server, LARGE) == 400  # it is longer than the context


def ask(server: Server, content: str) -> int:
    """By chat: what a template makes of a message is known only behind the shared memory."""
    body = {"model": "tale", "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=HEADERS, timeout=60).status_code
