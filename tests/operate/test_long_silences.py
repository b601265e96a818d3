"""A replica that is silent for longer than a proxy waits, and one that is full, behind Debian's nginx and HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.conftest import free_port
from tests.launch.replay_engine import ANSWER
from tests.operate.proxy import proxy
from tests.operate.replicas import HEADERS, Replica, replicas
from tests.operate.streams import Stream, ask, body, ends
from tests.operate.test_proxies import command
from tests.stream_end import stream_end

pytestmark = pytest.mark.operate

PING_S: Final = 1
PROXY_S: Final = 5  # that the proxy waits for the next byte, in place of the 1,860 s of deploy/proxies
MOST: Final = 4  # requests at a time
# Its beginning is the engine's answer, four times: so no text leaves the gateway for the first nine seconds.
HELD_BACK: Final = {"stop": [ANSWER * 4 + "never"]}
TOKENS: Final = 220


@dataclass(frozen=True)
class Proxied:
    url: str
    replica: Replica


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    flags = (f"--sse-ping-interval-s={PING_S}", f"--max-concurrent-requests={MOST}")
    with replicas(tmp_path_factory.mktemp("replica"), 1, *flags) as (only,):
        yield only


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxied(
    request: pytest.FixtureRequest, replica: Replica, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    directory = tmp_path_factory.mktemp(request.param)
    port = free_port()
    waits = {"nginx": ("proxy_read_timeout ", ";"), "haproxy": ("timeout server ", "")}[request.param]
    changed = {"0.0.0.0:8080": f"127.0.0.1:{port}", f"{waits[0]}1860s{waits[1]}": f"{waits[0]}{PROXY_S}s{waits[1]}"}
    changed |= {f"127.0.0.1:{9001 + index}": replica.endpoint for index in range(2)}
    url = f"http://127.0.0.1:{port}"
    with proxy(command(request.param, directory, changed), f"{url}/health/live", directory / "log"):
        replica.until(lambda: httpx.get(f"{url}/health/ready").status_code == 200, "the proxy has no replica")
        yield Proxied(url, replica)


def test_a_stream_whose_first_text_takes_longer_than_the_proxy_waits_is_whole(proxied: Proxied) -> None:
    request: dict[str, Any] = {**body(TOKENS), **HELD_BACK}
    answer = httpx.post(f"{proxied.url}/v1/completions", json=request, headers=HEADERS)
    assert answer.status_code == 200
    assert answer.text.startswith(": ping\n\n" * 3)
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert stream_end(events) == "complete"


def test_an_answer_that_is_not_streamed_needs_a_proxy_that_waits_as_long(proxied: Proxied) -> None:
    request: dict[str, Any] = {**body(TOKENS, stream=False), **HELD_BACK}
    assert httpx.post(f"{proxied.url}/v1/completions", json=request, headers=HEADERS).status_code == 504
    proxied.replica.until(lambda: proxied.replica.in_flight() == 0, "the engine goes on for a proxy that has gone")


def test_a_full_replicas_503_reaches_the_client_as_it_is_and_is_asked_once(proxied: Proxied) -> None:
    def rejected() -> float:
        return proxied.replica.count("conch_requests_rejected_total", reason="server_is_overloaded")

    streams = [Stream(proxied.url, 400) for _ in range(MOST)]
    before = rejected()
    through = ask(proxied.url)
    assert rejected() == before + 1
    direct = ask(proxied.replica.url)
    for answer in (through, direct):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "server_is_overloaded"
    assert through.json() == direct.json()
    assert ends(streams) == ["complete"] * MOST
