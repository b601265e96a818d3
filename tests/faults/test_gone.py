"""A client whose machine is gone without a word, as one that is suspended or whose cable is pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.faults.reports import report
from tests.launch.replay_engine import write_spec
from tests.launch.server import KEY, serving
from tests.waiting import wait_for

HERE, THERE, THEIRS = "10.99.7.1", "10.99.7.2", f"conch-{os.getpid()}"
ASKS: Final = """
import json, socket, sys
host, port, key, stream = sys.argv[1:]
body = {"model": "tale", "prompt": "x", "max_tokens": 1900, "ignore_eos": True, "stream": stream == "stream"}
text = json.dumps(body)
head = f"POST /v1/completions HTTP/1.1\\r\\nhost: {host}\\r\\nauthorization: Bearer {key}\\r\\n"
head += f"content-type: application/json\\r\\ncontent-length: {len(text)}\\r\\n\\r\\n"
client = socket.create_connection((host, int(port)))
client.sendall((head + text).encode())
while client.recv(65536): pass
"""

pytestmark = pytest.mark.fault


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@pytest.fixture
def cable() -> Iterator[str]:
    """The name of this end of one to another machine, which is a network namespace."""
    end = f"c{os.getpid()}"
    with ExitStack() as ends:
        ip(f"netns add {THEIRS}")
        ends.callback(ip, f"netns del {THEIRS}")
        ip(f"link add {end} type veth peer name {end}t netns {THEIRS}")
        ends.callback(ip, f"link del {end}")
        ip(f"addr add {HERE}/30 dev {end}")
        ip(f"link set {end} up")
        ip(f"-n {THEIRS} addr add {THERE}/30 dev {end}t")
        ip(f"-n {THEIRS} link set {end}t up")
        yield end


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("ip") is None, reason="only root may pull a cable, with iproute2")
def test_what_a_client_that_is_gone_without_a_word_had_asked_for_is_cancelled(
    cable: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    spec = write_spec(tmp_path, tokens_per_second=5)
    with serving(spec, [free_port() for _ in range(4)], "--host", HERE) as server, ExitStack() as ends:
        url = f"http://{HERE}:{server.ports[0]}/metrics"

        def in_flight(num: int) -> bool:
            return f"conch_requests_in_flight {num}.0" in httpx.get(url).text

        for kind in ("stream", "whole"):
            asks = [sys.executable, "-c", ASKS, HERE, str(server.ports[0]), KEY, kind]
            client = subprocess.Popen(["ip", "netns", "exec", THEIRS, *asks])
            ends.callback(client.wait)
            ends.callback(client.kill)
        wait_for(lambda: in_flight(2), lambda: server.output)
        ip(f"-n {THEIRS} link set {cable}t down")
        pulled_s = time.monotonic()
        wait_for(lambda: in_flight(0), lambda: server.output)
        report("cable pulled: a stream and a whole answer", cancelled_after=time.monotonic() - pulled_s)
        wait_for(lambda: sum(" incomplete " in line for line in list(server.lines)) == 2, lambda: server.output)
