"""Streams whose first text takes long: no proxy may take the silence for the end."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.gateway.bodies import CHAT, HELLO
from tests.gateway.scrape import scrape, value
from tests.gateway.scripted_backend import ScriptedBackend, Step, delta
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


def test_a_stream_that_fails_before_the_first_ping_has_the_status_of_its_error() -> None:
    with serving(ScriptedBackend([EngineFailed("no")]), sse_ping_interval_s=5) as gateway:
        answer = httpx.post(gateway.url + CHAT, json={"model": "demo", "messages": [HELLO], "stream": True})
    assert answer.status_code == 500
