"""Streams whose first text takes long: no proxy may take the silence for the end."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest

from tests.gateway.bodies import CHAT, HELLO
from tests.gateway.scrape import scrape, value
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, Step, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed


@pytest.mark.parametrize("ends", [[delta("late", "stop")], [EngineFailed("no")], [ValueError("a bug")]])
def test_a_stream_whose_first_text_takes_long_has_its_status_and_pings_meanwhile(ends: list[Step]) -> None:
    with serving(ScriptedBackend([1.0, *ends]), sse_ping_interval_s=0.1) as gateway:
        body = {"model": "demo", "messages": [HELLO], "stream": True}
        answer = httpx.post(gateway.url + CHAT, json=body)
        metrics = scrape(gateway.url)
    assert answer.status_code == 200
    assert answer.text.startswith(": ping\n\n: ping\n\n")
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if isinstance(ends[0], Exception):
        assert json.loads(events[-1])["error"]["code"] == "engine_failed"
        assert value(metrics, "conch_requests_total", status="2xx", finish_reason="error") == 1
    else:
        assert events[-1] == "[DONE]"
        assert "late" in answer.text


def test_a_stream_begins_with_no_ping_while_one_of_its_choices_waits_for_its_turn() -> None:
    cards = {"demo": replace(CARD, max_batch_size=1)}
    backend = ScriptedBackend([1.0, delta("late"), 0.2, delta("", "stop")], cards=cards)
    body = {"model": "demo", "messages": [HELLO], "stream": True, "n": 3}  # two of them have their turn at once
    with serving(backend, sse_ping_interval_s=0.1) as gateway:
        answer = httpx.post(gateway.url + CHAT, json=body)
    assert answer.text.startswith("data: ")
    assert answer.text.count("late") == 3
    hangs = ScriptedBackend([HANG], cards=cards)
    with serving(hangs, sse_ping_interval_s=0.1, queue_timeout_s=0.4) as gateway:
        assert httpx.post(gateway.url + CHAT, json=body).status_code == 503


def test_a_stream_that_fails_before_the_first_ping_has_the_status_of_its_error() -> None:
    with serving(ScriptedBackend([EngineFailed("no")]), sse_ping_interval_s=5) as gateway:
        answer = httpx.post(gateway.url + CHAT, json={"model": "demo", "messages": [HELLO], "stream": True})
    assert answer.status_code == 500
