"""Real Envoy and an endpoint picker in front of three replicas, with the configuration of deploy/envoy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.conftest import free_port
from tests.operate.picker.server import DESTINATION, SESSION, Picker, picking
from tests.operate.proxy import ROOT, proxy, substituted
from tests.operate.replicas import HEADERS, Replica, is_ready, replicas
from tests.operate.streams import CUT, LONG, Stream, ask, ends, streaming, text_of

pytestmark = pytest.mark.operate

CONFIG: Final = ROOT / "deploy" / "envoy" / "envoy.yaml"
ENVOY: Final = Path(sys.executable).with_name("envoy")


@dataclass(frozen=True)
class Routed:
    """Envoy's address, and the replicas behind it."""

    url: str
    picker: Picker
    replicas: tuple[Replica, ...]

    def session_of(self, replica: Replica) -> dict[str, str]:
        """A header that the picker sends to this replica while all are ready."""
        for number in range(1000):
            headers = {SESSION: f"session-{number}"}
            if self.picker.pick(headers, b"") == replica.endpoint:
                return headers
        raise AssertionError(replica.endpoint)


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    directory = tmp_path_factory.mktemp("envoy")
    with replicas(directory, 3) as servers:
        picker = Picker([each.endpoint for each in servers], is_ready)
        with picking(picker) as port:
            listener, admin = free_port(), free_port()
            ports = {"8080": listener, "19000": admin, "9002": port}
            text = substituted(CONFIG, {f"port_value: {old}": f"port_value: {new}" for old, new in ports.items()})
            file = directory / "envoy.yaml"
            file.write_text(text.replace("0.0.0.0", "127.0.0.1"), encoding="utf-8")
            argv = (str(ENVOY), "--config-path", str(file), "--disable-hot-restart", "--concurrency", "1")
            url = f"http://127.0.0.1:{listener}"
            with proxy(argv, f"{url}/health/live", directory / "envoy.log"):
                yield Routed(url, picker, servers)


def completed(replica: Replica) -> float:
    return replica.count("conch_requests_total", endpoint="/v1/completions", status="2xx")


@pytest.mark.parametrize("index", range(3))
def test_the_picked_replica_answers_and_no_other(routed: Routed, index: int) -> None:
    replica = routed.replicas[index]
    headers = routed.session_of(replica)
    expected = [completed(each) + (3 if each is replica else 0) for each in routed.replicas]
    for _ in range(3):
        assert ask(routed.url, headers=headers).status_code == 200
    replica.until(lambda: [completed(each) for each in routed.replicas] == expected, "another one answered")


def test_prompts_that_begin_alike_meet_at_one_replica_and_others_spread(routed: Routed) -> None:
    def picked(prompt: str) -> str:
        assert ask(routed.url, prompt).status_code == 200
        return routed.picker.picked[-1]

    system = "You are a lighthouse keeper. " * 10
    assert len({picked(system + question) for question in ("Who?", "Where?", "Why?")}) == 1
    assert len({picked(f"{number} {system}") for number in range(12)}) > 1


def test_a_client_cannot_choose_where_its_request_goes(routed: Routed) -> None:
    first, second, _ = routed.replicas
    headers = {**routed.session_of(first), DESTINATION: second.endpoint}
    before = completed(second)
    assert ask(routed.url, headers=headers).status_code == 200
    assert routed.picker.picked[-1] == first.endpoint
    assert completed(second) == before


def test_a_stream_arrives_while_it_is_written(routed: Routed) -> None:
    replica = routed.replicas[0]
    with streaming(routed.url, LONG, routed.session_of(replica)) as events:
        text = "".join(text_of(next(events)) for _ in range(5))
        assert text
        assert replica.in_flight() == 1  # of 1,500 tokens most are still to come


def test_a_client_that_leaves_frees_the_engine(routed: Routed) -> None:
    replica = routed.replicas[1]
    before = replica.cancelled_in_engine()
    with streaming(routed.url, LONG, routed.session_of(replica)) as events:
        next(events)
    replica.until(lambda: replica.cancelled_in_engine() == before + 1, "the engine goes on")
    assert replica.in_flight() == 0


def test_a_large_body_and_the_gateways_own_errors_pass_through(routed: Routed) -> None:
    large = ask(routed.url, prompt="a long story " * 200_000)
    assert large.status_code == 400
    assert large.json()["error"]["code"] == "context_length_exceeded"
    unknown = httpx.post(f"{routed.url}/v1/completions", json={"model": "nobody", "prompt": "x"}, headers=HEADERS)
    assert unknown.status_code == 404
    without_key = httpx.post(f"{routed.url}/v1/completions", json={"model": "tale", "prompt": "x"})
    assert without_key.status_code == 401
    named = ask(routed.url, headers={"x-request-id": "of-the-client"})
    assert named.headers["x-request-id"] == "of-the-client"


def test_a_killed_replica_loses_only_its_own_streams(routed: Routed) -> None:
    lost, *others = routed.replicas
    sessions = {each.endpoint: routed.session_of(each) for each in routed.replicas}
    its_own = [Stream(routed.url, 120, sessions[lost.endpoint]) for _ in range(2)]
    theirs = [Stream(routed.url, 120, sessions[each.endpoint]) for each in others for _ in range(2)]
    lost.kill()
    try:
        assert set(ends(its_own)) <= {CUT, "broken"}
        assert ends(theirs) == ["complete"] * 4
        again = ask(routed.url, headers=sessions[lost.endpoint])
        assert again.status_code == 200
        assert routed.picker.picked[-1] != lost.endpoint
    finally:
        lost.start()
        lost.wait()
    assert ask(routed.url, headers=sessions[lost.endpoint]).status_code == 200
    assert routed.picker.picked[-1] == lost.endpoint


def test_a_replica_that_drains_ends_its_streams_and_gets_no_more(routed: Routed) -> None:
    replica = routed.replicas[2]
    session = routed.session_of(replica)
    streams = [Stream(routed.url, 60, session) for _ in range(3)]
    server = replica.running
    server.process.terminate()
    replica.until(lambda: not replica.is_ready(), "it did not drain")
    try:
        assert ask(routed.url, headers=session).status_code == 200
        assert routed.picker.picked[-1] != replica.endpoint
        assert ends(streams) == ["complete"] * 3
        assert server.process.wait(240) == 0
    finally:
        replica.start()
        replica.wait()


def test_without_a_ready_replica_the_picker_says_503(routed: Routed) -> None:
    for replica in routed.replicas:
        replica.kill()
    assert ask(routed.url).status_code == 503
