"""Every request ends once, counted alike by client, gateway and engine; and what finds a leak finds a planted one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from launch.descendants import MARK
from launch.shared_memory import SHM
from tests.faults.ledger import answered, baseline, ended, settled
from tests.faults.reports import report
from tests.faults.streams import HEADERS, a_story, kinds, run_streams
from tests.launch.replay_engine import write_spec
from tests.launch.server import Server, serving
from tests.waiting import wait_for

WHOLE, LEFT = 40, 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    spec = write_spec(tmp_path_factory.mktemp("ledger"), tokens_per_second=100)
    with serving(spec, [free_port() for _ in range(4)]) as running:
        yield running


async def leave(server: Server, after: int) -> None:
    """Open a stream, read some of its lines, and go."""
    async with (
        httpx.AsyncClient(headers=HEADERS, timeout=60) as client,
        client.stream("POST", f"{server.url}/v1/completions", json=a_story(1900)) as response,
    ):
        lines = response.aiter_lines()
        for _ in range(after):
            await anext(lines)


def test_client_gateway_and_engine_count_the_same_ends_and_nothing_stays_open(server: Server) -> None:
    async def leavers() -> None:
        await asyncio.gather(*(leave(server, after) for after in range(LEFT)))

    before, ended_before, answered_before = settled(server), ended(server), answered(server)
    ends = asyncio.run(run_streams(server.url, WHOLE, 100, leavers))
    after = settled(server)
    wait_for(lambda: sum(ended(server).values()) - sum(ended_before.values()) == WHOLE + LEFT)
    counted = ended(server)
    by_engine = {name: int(counted[name] - ended_before[name]) for name in counted}
    by_gateway = Counter(answered(server)) - Counter(answered_before)
    report("ledger", client={"whole": kinds(ends)["complete"], "left": LEFT}, gateway=by_gateway, engine=by_engine)
    assert kinds(ends) == {"complete": WHOLE}
    assert by_engine == {"finished": WHOLE, "cancelled": LEFT, "failed": 0}
    assert by_gateway == {"length": WHOLE, "cancelled": LEFT}
    assert after.differences(before) == {}


def test_a_leak_of_each_kind_is_found(server: Server, tmp_path: Path) -> None:
    before = settled(server)
    environment = {**os.environ, "CONCH_TEST": server.tag, MARK: "planted"}
    leaks = "import threading, time; files = [open(__file__) for _ in range(20)]\n"
    leaks += "for _ in range(20): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    script = tmp_path / "leaks.py"
    script.write_text(leaks + "print(flush=True); time.sleep(60)", encoding="utf-8")
    region = SHM / f"{server.shm_prefix()}planted"
    region.touch()
    left = next(server.directory.glob("conch-*")) / "planted"
    left.touch()
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE) as planted:
        assert planted.stdout
        planted.stdout.readline()
        try:
            found = baseline(server).differences(before)
        finally:
            planted.kill()
            region.unlink()
            left.unlink()
    assert found.keys() == {"processes", "threads", "files", "shm_names", "run_files"}
    streaming = threading.Thread(target=lambda: asyncio.run(leave(server, after=200)))
    streaming.start()
    wait_for(lambda: "load" in baseline(server).differences(before))
    streaming.join()
    assert settled(server).differences(before) == {}
