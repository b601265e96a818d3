"""Servers side by side: the same load for each, and no comparison with one that fails."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest
from rich.console import Console

from bench.load.connection import Target
from bench.versus.__main__ import elsewhere, table
from bench.versus.contestant import Contestant, compete
from bench.versus.peer_servers import llama_server, vllm
from bench.versus.peers import Peer
from bench.versus.peers import main as set_up
from tests.bench.load.events import DONE, HELLO, OPENING, STOP, USAGE
from tests.bench.load.wire_server import WireServer, chunked
from triton_repo.contract.errors import BenchError

WHOLE = [chunked([OPENING, HELLO, STOP, USAGE, DONE])]
WITHOUT_DONE = [chunked([OPENING, HELLO, STOP, USAGE])]
REFUSED = [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"]
REQUESTS = 2 + 4  # of one round at two streams: warm-up, then two each


@contextmanager
def scripted(*script: list[bytes]) -> Iterator[tuple[WireServer, str]]:
    """A wire server in a thread of its own: the comparison brings its own event loop."""
    wire = WireServer(list(script))
    started: SimpleQueue[tuple[str, int, Callable[[], object]]] = SimpleQueue()

    async def serve() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(wire.serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            started.put((host, port, lambda: loop.call_soon_threadsafe(over.set)))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    host, port, stop = started.get(timeout=120)
    try:
        yield wire, f"http://{host}:{port}"
    finally:
        stop()
        thread.join()


def test_all_servers_get_the_same_prompts_and_are_told_beside_the_first() -> None:
    with scripted(*[WHOLE] * REQUESTS) as (ours, url), scripted(*[WITHOUT_DONE] * REQUESTS) as (theirs, other_url):
        one = Contestant("ours", Target.parse(url), "m")
        parsed = Target.parse(other_url)
        two = Contestant("theirs", Target(parsed.host, parsed.port, False, "", sends_done=False), "m")
        scores = list(compete([one, two], streams=2, rounds=1))
    bodies = [sorted(request.split(b"\r\n\r\n", 1)[1] for request in wire.requests) for wire in (ours, theirs)]
    assert bodies[0] == bodies[1]
    assert [(score.server, score.streams, score.tokens_out) for score in scores] == [("ours", 2, 3), ("theirs", 2, 3)]
    assert scores[0].ratio == 1.0
    assert scores[0].to_json()["tokens_per_s"] == scores[0].tokens_per_s
    text = io.StringIO()
    Console(width=120, file=text).print(table(scores))
    assert "2 ours" in " ".join(text.getvalue().split())


def test_a_server_that_fails_a_request_is_not_compared() -> None:
    with scripted(*[WHOLE] * 2, *[REFUSED] * 4) as (_, url):
        contestant = Contestant("ours", Target.parse(url), "m")
        with pytest.raises(BenchError, match="ours: 4 requests failed: HTTP 400"):
            contestant.measure(2, 0)


def test_a_server_that_is_not_set_up_says_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for start in (llama_server, vllm):
        with pytest.raises(BenchError, match=r"is not set up: python -m bench.versus.peers"), start(tmp_path):
            pass


def test_a_peer_that_cannot_be_installed_is_named_and_counts_as_not_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    peer = Peer("absent", ("not-there-at-all==1.0",))
    with pytest.raises(BenchError, match=r"absent: -m pip .* failed"):
        peer.install()
    with pytest.raises(BenchError, match="absent is not set up"):
        _ = peer.python


def test_a_name_that_is_no_peers_is_an_error_that_lists_them() -> None:
    with pytest.raises(BenchError, match="sglang: there is llama-server, vllm"):
        set_up(["sglang"])


@pytest.mark.parametrize("option", ["http://127.0.0.1:1", "=http://127.0.0.1:1", "name=", "name"])
def test_a_url_needs_a_name(option: str) -> None:
    with pytest.raises(BenchError, match="must be like NAME=http://HOST:PORT"):
        elsewhere(option)


def test_a_server_that_does_not_answer_is_said_to_be_silent() -> None:
    with pytest.raises(BenchError, match="nothing answers"):
        elsewhere("gone=http://127.0.0.1:9")
