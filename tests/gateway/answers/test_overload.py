"""More requests than an engine can do: it gets what it can run, a few wait, the others are told at once."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.scrape import scrape_until, value
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, delta
from tests.gateway.server import Running, serving

CHAT = "/v1/chat/completions"
SMALL = {"demo": replace(CARD, max_batch_size=1, kv_cache_tokens=4096)}  # and one more, to keep it fed
ROOM = 2
QUEUE = 4


def post(gateway: Running, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **fields}
    return httpx.post(gateway.url + CHAT, json=body, headers=headers, timeout=120)


def wait_until_asked(gateway: Running, backend: ScriptedBackend, num: int) -> None:
    while len(backend.generations) < num:
        httpx.get(f"{gateway.url}/health/live")


def test_an_engine_gets_what_it_can_run_and_the_rest_when_that_has_ended() -> None:
    backend = ScriptedBackend([0.3, delta("Hello", "stop")], cards=SMALL)
    with serving(backend) as gateway, ThreadPoolExecutor(ROOM + QUEUE) as pool:
        answers = [pool.submit(post, gateway) for _ in range(ROOM + QUEUE)]
        wait_until_asked(gateway, backend, 1)
        most = 0
        while not all(answer.done() for answer in answers):
            most = max(most, len(backend.generations) - sum(answer.done() for answer in answers))
            httpx.get(f"{gateway.url}/health/live")
    assert [answer.result().status_code for answer in answers] == [200] * (ROOM + QUEUE)
    assert most <= 2 * ROOM  # those that have just ended, and are not answered yet, too


def test_more_than_may_wait_is_rejected_at_once_with_a_time_to_come_back() -> None:
    backend = ScriptedBackend([HANG], cards=SMALL)
    with serving(backend) as gateway, ThreadPoolExecutor(64) as pool:
        answers = [pool.submit(post, gateway) for _ in range(64)]
        rejected: list[httpx.Response] = []
        while len(rejected) < 64 - ROOM - QUEUE:
            rejected = [answer.result() for answer in answers if answer.done()]
            httpx.get(f"{gateway.url}/health/live")
        assert len(backend.generations) == ROOM
        gateway.begin_shutdown()
    for response in rejected:
        assert (response.status_code, response.json()["error"]["code"]) == (503, "server_is_overloaded")
        assert response.json()["error"]["type"] == "service_unavailable_error"
        assert 1 <= int(response.headers["retry-after"]) <= 30


def test_one_of_higher_priority_displaces_one_that_waits_which_is_told_to_come_back() -> None:
    backend = ScriptedBackend([HANG], cards=SMALL)
    with serving(backend) as gateway, ThreadPoolExecutor(ROOM + QUEUE + 1) as pool:
        answers = [pool.submit(post, gateway) for _ in range(ROOM + QUEUE)]
        scrape_until(gateway.url, lambda series: value(series, "conch_requests_waiting") == QUEUE)
        urgent = pool.submit(post, gateway, priority=-1)
        displaced = next(as_completed([*answers, urgent])).result()
        assert not urgent.done()
        gateway.begin_shutdown()
    assert (displaced.status_code, displaced.json()["error"]["code"]) == (503, "server_is_overloaded")
    assert "retry-after" in displaced.headers


def test_what_waits_is_a_metric() -> None:
    backend = ScriptedBackend([HANG], cards=SMALL)
    with serving(backend) as gateway, ThreadPoolExecutor(ROOM + 2) as pool:
        for _ in range(ROOM + 2):
            pool.submit(post, gateway)
        scrape_until(gateway.url, lambda series: value(series, "conch_requests_waiting") == 2)
        scrape_until(gateway.url, lambda series: value(series, "conch_requests_in_flight") == ROOM + 2)
        gateway.begin_shutdown()


def test_a_client_that_leaves_the_queue_makes_room_and_is_never_run() -> None:
    backend = ScriptedBackend([HANG], cards=SMALL)
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    with serving(backend) as gateway, ThreadPoolExecutor(ROOM) as pool:
        running = [pool.submit(post, gateway) for _ in range(ROOM)]
        wait_until_asked(gateway, backend, ROOM)
        waiting = [gateway.post_unread(CHAT, body) for _ in range(QUEUE)]
        while post(gateway, {"x-request-timeout": "0.01"}).status_code != 503:
            pass
        for client in waiting:
            client.close()
        while post(gateway, {"x-request-timeout": "0.01"}).status_code != 504:  # it waits again
            pass
        gateway.begin_shutdown()
    assert len(backend.generations) == ROOM
    assert {answer.result().status_code for answer in running} == {503}


def test_a_slow_reader_does_not_keep_others_from_the_engine() -> None:
    """Its answer is complete as far as the engine goes, though most of it has not been sent."""
    backend = ScriptedBackend([*[delta("x" * 65536)] * 64, delta("", "stop")], cards=SMALL)
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()
    backend.ends_before_it_is_read = True
    with serving(backend) as gateway:
        slow = [gateway.post_unread(CHAT, body) for _ in range(2 * ROOM)]
        wait_until_asked(gateway, backend, 2 * ROOM)
        for client in slow:
            client.close()


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "", "1 s"])
def test_a_timeout_that_is_none_is_named(given: str) -> None:
    with serving(ScriptedBackend()) as gateway:
        response = post(gateway, {"x-request-timeout": given})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-request-timeout")


@pytest.mark.parametrize("given", ["60", "1e3", "inf"])
def test_a_timeout_that_is_long_enough_changes_nothing(given: str) -> None:
    with serving(ScriptedBackend()) as gateway:
        assert post(gateway, {"x-request-timeout": given}).status_code == 200


def test_an_answer_that_has_not_begun_by_its_deadline_is_504_and_the_engine_is_stopped() -> None:
    backend = ScriptedBackend([HANG])
    with serving(backend) as gateway:
        response = post(gateway, {"x-request-timeout": "0.1"}, stream=True)
        backend.wait_for_cancels(1)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert response.json()["error"]["type"] == "timeout_error"


def test_a_stream_that_is_not_complete_by_its_deadline_ends_with_one_error_event() -> None:
    backend = ScriptedBackend([delta("Hel"), HANG], deaf=True)
    with serving(backend) as gateway:
        response = post(gateway, {"x-request-timeout": "0.3"}, stream=True)
    *_, last, rest = response.text.split("\n\n")
    assert (response.status_code, rest) == (200, "")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert response.text.count('"error"') == 1
    assert "[DONE]" not in response.text


def test_the_servers_own_limit_holds_for_clients_that_would_wait_longer() -> None:
    with serving(ScriptedBackend([HANG]), request_timeout_s=0.2) as gateway:
        response = post(gateway, {"x-request-timeout": "1000"})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "request_timeout")


@pytest.mark.parametrize("header", ["x-request-timeout", "x-stainless-read-timeout", "x-stainless-timeout"])
def test_what_its_client_has_given_up_is_not_run(header: str) -> None:
    backend = ScriptedBackend([HANG], cards=SMALL)
    with serving(backend) as gateway, ThreadPoolExecutor(ROOM) as pool:
        for _ in range(ROOM):
            pool.submit(post, gateway)
        wait_until_asked(gateway, backend, ROOM)
        began_s = time.monotonic()
        response = post(gateway, {header: "0.2"})
        assert time.monotonic() - began_s >= 0.2
        gateway.begin_shutdown()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert len(backend.generations) == ROOM


@pytest.mark.parametrize("num_seconds", ["0.2", None])
def test_openais_client_does_not_send_again_what_was_not_complete_in_time(num_seconds: str | None) -> None:
    backend = ScriptedBackend([HANG])
    headers = {"x-request-timeout": num_seconds} if num_seconds else {}
    with serving(backend, request_timeout_s=0.3) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", default_headers=headers)
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "Hello"}])
    assert failed.value.status_code == 504
    assert len(backend.generations) == 1
