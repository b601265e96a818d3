"""Debian's nginx and HAProxy in front of two replicas, with the configurations of deploy/proxies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.conftest import free_port
from tests.operate.proxy import ROOT, proxy, substituted
from tests.operate.replicas import HEADERS, Replica, replicas
from tests.operate.streams import CUT, LONG, Stream, ask, ends, streaming, text_of

pytestmark = pytest.mark.operate

PROXIES: Final = ROOT / "deploy" / "proxies"
# What a distribution's own nginx.conf has around conf.d/*.conf, in the foreground and as nobody but its user.
NGINX: Final = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/conch.conf;
}}
"""


@dataclass(frozen=True)
class Proxied:
    url: str
    replicas: tuple[Replica, ...]

    def both_serve(self) -> None:
        """HAProxy asks each every two seconds; nginx forgets a failure after five."""
        for replica in self.replicas:
            replica.until(lambda replica=replica: self._answered(replica), f"{replica.endpoint} gets no requests")  # type: ignore[misc]

    def _answered(self, replica: Replica) -> bool:
        before = completed(replica)
        for _ in range(4):
            assert ask(self.url).status_code == 200
        return completed(replica) > before


def completed(replica: Replica) -> float:
    return replica.count("conch_requests_total", endpoint="/v1/completions", status="2xx")


def command(name: str, directory: Path, addresses: dict[str, str]) -> list[str]:
    program = shutil.which(name)
    assert program, f"{name} is not installed: apt-get install {name}"
    if name == "haproxy":
        file = directory / "haproxy.cfg"
        file.write_text(substituted(PROXIES / "haproxy.cfg", addresses), encoding="utf-8")
        return [program, "-f", str(file), "-db"]
    (directory / "conch.conf").write_text(substituted(PROXIES / "nginx.conf", addresses), encoding="utf-8")
    file = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not write below pytest's directory
    file.write_text(NGINX.format(directory=directory, user=user), encoding="utf-8")
    return [program, "-c", str(file), "-e", str(directory / "error.log")]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replica, ...]]:
    with replicas(tmp_path_factory.mktemp("replicas"), 2, "--max-file-bytes=1048576") as both:
        yield both


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxied(
    request: pytest.FixtureRequest, servers: tuple[Replica, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    directory = tmp_path_factory.mktemp(request.param)
    port = free_port()
    addresses = {"0.0.0.0:8080": f"127.0.0.1:{port}"}
    addresses |= {f"127.0.0.1:{9001 + index}": each.endpoint for index, each in enumerate(servers)}
    url = f"http://127.0.0.1:{port}"
    with proxy(command(request.param, directory, addresses), f"{url}/health/live", directory / "log"):
        proxied = Proxied(url, servers)
        proxied.both_serve()
        yield proxied


def in_flight(proxied: Proxied) -> float:
    return sum(replica.in_flight() for replica in proxied.replicas)


def test_a_stream_arrives_while_it_is_written(proxied: Proxied) -> None:
    with streaming(proxied.url, LONG) as events:
        assert "".join(text_of(next(events)) for _ in range(5))
        assert in_flight(proxied) == 1  # of 1,500 tokens most are still to come


def test_a_client_that_leaves_frees_the_engine(proxied: Proxied) -> None:
    def cancelled() -> float:
        return sum(replica.cancelled_in_engine() for replica in proxied.replicas)

    before = cancelled()
    with streaming(proxied.url, LONG) as events:
        next(events)
    proxied.replicas[0].until(lambda: cancelled() == before + 1, "the engine goes on")


def test_a_client_that_leaves_before_its_answer_frees_the_engine(proxied: Proxied) -> None:
    def cancelled() -> float:
        return sum(replica.cancelled_in_engine() for replica in proxied.replicas)

    before = cancelled()
    request = {"model": "tale", "prompt": "x", "max_tokens": LONG, "ignore_eos": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{proxied.url}/v1/completions", json=request, headers=HEADERS, timeout=2)
    proxied.replicas[0].until(lambda: cancelled() == before + 1, "the engine goes on")


def test_a_large_body_and_the_gateways_own_errors_pass_through(proxied: Proxied) -> None:
    large = ask(proxied.url, prompt="a long story " * 500_000)
    assert large.status_code == 400
    assert large.json()["error"]["code"] == "context_length_exceeded"
    unknown = httpx.post(f"{proxied.url}/v1/completions", json={"model": "nobody", "prompt": "x"}, headers=HEADERS)
    assert unknown.status_code == 404
    file = ("a.jsonl", b"{}\n" * 10_000)
    uploaded = httpx.post(f"{proxied.url}/v1/files", files={"file": file}, data={"purpose": "batch"}, headers=HEADERS)
    assert uploaded.status_code == 200, uploaded.text


def test_a_dead_replica_costs_no_request(proxied: Proxied) -> None:
    lost = proxied.replicas[0]
    lost.kill()
    try:
        assert [ask(proxied.url).status_code for _ in range(8)] == [200] * 8
    finally:
        lost.start()
        lost.wait()
    proxied.both_serve()


def test_a_replica_that_drains_ends_its_streams_and_others_take_what_comes(proxied: Proxied) -> None:
    streams = [Stream(proxied.url, 60) for _ in range(4)]
    draining = proxied.replicas[1]
    assert draining.in_flight() > 0
    server = draining.running
    server.process.terminate()
    try:
        assert ends(streams) == ["complete"] * 4
        assert server.process.wait(240) == 0
        assert [ask(proxied.url).status_code for _ in range(4)] == [200] * 4
    finally:
        draining.start()
        draining.wait()
    proxied.both_serve()


def test_a_stream_that_has_begun_is_not_begun_again_at_another_replica(proxied: Proxied) -> None:
    stream = Stream(proxied.url, LONG)
    lost, other = sorted(proxied.replicas, key=Replica.in_flight, reverse=True)
    assert (lost.in_flight(), other.in_flight()) == (1, 0)
    before = other.count("conch_requests_total", endpoint="/v1/completions")
    lost.kill()
    try:
        assert stream.end == CUT
        assert other.in_flight() == 0
        assert other.count("conch_requests_total", endpoint="/v1/completions") == before
    finally:
        lost.start()
        lost.wait()
    proxied.both_serve()
