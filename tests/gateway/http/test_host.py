"""Under which names a gateway answers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.http.raw_client import connect, received_to_the_end
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving

PATHS = ("/", "/v1/models", "/health/live", "/metrics", "/chat.js", "/no/such/path")
REQUEST = b"GET /health/live HTTP/%b\r\n%bconnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with serving(ScriptedBackend(), allowed_hosts=()) as running:
        yield running


def status(gateway: Running, host: str, path: str = "/health/live") -> int:
    return httpx.get(gateway.url + path, headers={"host": host}).status_code


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:9000", "127.0.0.1", "127.0.0.1:1", "127.8.9.1:9000", "[::1]", "[::1]:80", "a.localhost"],
)
def test_names_and_addresses_of_loopback_are_answered_with_any_port(gateway: Running, host: str) -> None:
    assert status(gateway, host) == 200


@pytest.mark.parametrize("host", ["x", "conch:9000", "My-Machine", "a_1"])
def test_names_without_a_dot_are_answered_unless_the_operator_names_the_server(gateway: Running, host: str) -> None:
    assert status(gateway, host) == 200
    with serving(ScriptedBackend(), allowed_hosts=("chat.example",)) as named:
        assert [status(named, each) for each in (host, "localhost", "chat.example")] == [421, 200, 200]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:80:80",
        "::1",
        "[::1",
        "",
        "evil.",
        "evil example",
    ],
)
def test_a_page_of_another_name_that_resolves_to_this_machine_gets_nothing(
    gateway: Running, host: str, path: str
) -> None:
    answer = httpx.get(gateway.url + path, headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "misdirected_request"


@pytest.mark.parametrize(("hosts", "status"), [(b"", b"400"), (b"host: localhost\r\nhost: localhost\r\n", b"400")])
def test_http_1_1_needs_exactly_one_host(gateway: Running, hosts: bytes, status: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(REQUEST % (b"1.1", hosts))
        assert received_to_the_end(client).startswith(b"HTTP/1.1 %b " % status)


def test_http_1_0_needs_none(gateway: Running) -> None:
    with connect(gateway) as client:
        client.sendall(REQUEST % (b"1.0", b""))
        assert received_to_the_end(client).startswith(b"HTTP/1.1 200 ")


def test_an_operator_adds_names_and_may_allow_all() -> None:
    with serving(ScriptedBackend(), allowed_hosts=("Chat.Example",)) as gateway:
        assert [status(gateway, host) for host in ("chat.example:443", "localhost", "other.example")] == [200, 200, 421]
    with serving(ScriptedBackend(), allowed_hosts=("*",)) as gateway:
        assert status(gateway, "other.example") == 200


def test_a_server_that_other_machines_reach_answers_to_any_name_unless_it_is_told_its_names() -> None:
    with serving(ScriptedBackend(), host="0.0.0.0", allowed_hosts=()) as gateway:
        assert status(gateway, "other.example") == 200
    with serving(ScriptedBackend(), host="0.0.0.0", allowed_hosts=("chat.example",)) as gateway:
        assert [status(gateway, host) for host in ("chat.example", "other.example")] == [200, 421]


@pytest.mark.parametrize("name", ["2001:db8::1", "[2001:DB8:0::1]", "[2001:db8::1]:443"])
def test_an_ipv6_address_is_a_name_with_brackets_and_without(name: str) -> None:
    with serving(ScriptedBackend(), host="::", allowed_hosts=(name,)) as gateway:
        hosts = ("[2001:db8::1]:9000", "[2001:db8::1]", "[2001:db8::2]", "2001:db8::1", "")
        assert [status(gateway, host) for host in hosts] == [200, 200, 421, 421, 421]


def test_the_address_that_a_server_listens_on_is_a_name_of_it() -> None:
    with serving(ScriptedBackend(), host="2001:db8::1", allowed_hosts=("chat.example",)) as gateway:
        assert status(gateway, "[2001:db8::1]:9000") == 200


def test_a_port_in_an_added_name_does_not_matter() -> None:
    with serving(ScriptedBackend(), allowed_hosts=("chat.example:443",)) as gateway:
        assert [status(gateway, host) for host in ("chat.example:443", "chat.example")] == [200, 200]


def test_no_page_can_be_framed(gateway: Running) -> None:
    for path in ("/", "/docs", "/chat.js"):
        assert httpx.get(gateway.url + path).headers["content-security-policy"] == "frame-ancestors 'none'"
