"""The id of a request: one for the response, the log and the engine; and its line in the access log."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from gateway.http import request_id
from tests.gateway.bodies import CHAT, chat, post
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving

LOGGER = "gateway.access"
ORIGIN = "http://a.example"


@pytest.fixture
def access_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, LOGGER):
        yield caplog


def only_line(log: pytest.LogCaptureFixture) -> str:
    """A line is written after the last byte of its response."""
    deadline = time.monotonic() + 60
    while not lines(log):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (line,) = lines(log)
    return line


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == LOGGER]


@pytest.fixture
def gateway() -> Iterator[Running]:
    with serving(ScriptedBackend(), cors_origins=(ORIGIN,), api_key="sk-secret") as running:
        yield running


@pytest.mark.parametrize("given", ["abc-1_2", "x" * 128])
def test_a_clients_own_id_comes_back(gateway: Running, given: str) -> None:
    assert httpx.get(f"{gateway.url}/health/live", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a;b", "x" * 129, "{}"])
def test_an_id_that_is_not_safe_to_repeat_is_replaced(gateway: Running, given: str) -> None:
    made = httpx.get(f"{gateway.url}/health/live", headers={"x-request-id": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (f"OPTIONS {CHAT}", {"origin": ORIGIN, "access-control-request-method": "POST"}, 200),
        (f"OPTIONS {CHAT}", {"origin": "http://b.example", "access-control-request-method": "POST"}, 400),
        (f"POST {CHAT}", {}, 401),
        ("GET /nothing", {"authorization": "Bearer sk-secret"}, 404),
        ("HEAD /", {}, 200),
    ],
)
def test_every_response_has_an_id_and_a_line_in_the_log(
    gateway: Running, access_log: pytest.LogCaptureFixture, request_line: str, headers: dict[str, str], status: int
) -> None:
    method, path = request_line.split()
    response = httpx.request(method, gateway.url + path, headers=headers)
    assert response.status_code == status
    key = " key=default" if "authorization" in headers else ""
    line = only_line(access_log)
    assert re.fullmatch(rf"{method} {path} {status} \d+\.\d{{3}} s id={response.headers['x-request-id']}{key}", line)


def test_the_id_in_the_log_is_that_of_the_answer_and_of_the_engines_request(
    access_log: pytest.LogCaptureFixture,
) -> None:
    backend = ScriptedBackend()
    with serving(backend) as gateway:
        answer = httpx.post(
            gateway.url + CHAT,
            content=chat(),
            headers={"x-request-id": "mine", "content-type": "application/json"},
        )
    line = only_line(access_log)
    assert line.endswith(" client_id=mine")
    id = line.partition(" id=")[2].partition(" ")[0]
    assert answer.json()["id"] == f"chatcmpl-{id}"
    assert backend.generations[0].request_id == f"{id}-0"


def test_a_client_that_leaves_makes_an_incomplete_response(access_log: pytest.LogCaptureFixture) -> None:
    backend = ScriptedBackend([delta("Hello"), HANG])
    with serving(backend) as gateway:
        with gateway.post_unread(CHAT, chat(stream=True)) as client:
            client.recv(65536)
        backend.wait_for_cancels(1)
    line = only_line(access_log)
    assert line.startswith(f"POST {CHAT} 200 incomplete ")


def test_a_path_forges_no_line(gateway: Running, access_log: pytest.LogCaptureFixture) -> None:
    httpx.get(f"{gateway.url}/a%0aGET%20/b?key=secret")
    line = only_line(access_log)
    assert line.startswith("GET /a%0aGET%20/b 401 ")


def test_health_checks_are_logged_only_where_they_fail(access_log: pytest.LogCaptureFixture) -> None:
    backend = ScriptedBackend()
    with serving(backend) as gateway:
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            httpx.get(gateway.url + path)
        assert lines(access_log) == []
        backend.unavailable = "no model is ready"
        httpx.get(f"{gateway.url}/health")
    assert lines(access_log)[0].startswith("GET /health 503 ")


def test_the_access_log_can_be_switched_off(access_log: pytest.LogCaptureFixture) -> None:
    with serving(ScriptedBackend(), access_log=False) as gateway, httpx.Client(base_url=gateway.url) as client:
        assert post(client, CHAT, chat()).status_code == 200
    assert lines(access_log) == []


def test_requests_that_are_rejected_by_the_hundred_do_not_fill_the_log(
    access_log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_id, "MAX_REJECTION_LINES", 1)
    backend = ScriptedBackend(unavailable="no model is ready")
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url) as client:
        num_rejected = 0
        while not any("more requests were rejected" in line for line in lines(access_log)):
            assert post(client, CHAT, chat()).status_code == 503
            num_rejected += 1
        backend.unavailable = None
        assert post(client, CHAT, chat()).status_code == 200
    assert lines(access_log)[-1].startswith(f"POST {CHAT} 200 ")
    listed = sum(" 503 " in line for line in lines(access_log))
    told = sum(int(line.split()[0]) for line in lines(access_log) if "more requests" in line)
    assert num_rejected - 1 <= listed + told <= num_rejected
    assert listed < num_rejected
