"""What an engine had not begun when it was lost is asked of it once more, and never seen twice."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.answers.backend import Delta, EngineLost, Generation
from tests.gateway.scripted_backend import ScriptedBackend, Step, delta
from tests.gateway.server import serving

URL = "/v1/completions"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "prompt": "Hello", **fields}


@dataclass
class Mortal(ScriptedBackend):
    """Is lost with its first `deaths` generations, after it has said `last_words`; `stays_away` then."""

    deaths: int = 1
    last_words: tuple[Step, ...] = ()
    stays_away: bool = False

    async def generate(
        self, generation: Generation, ended: Callable[[], None] = lambda: None, /
    ) -> AsyncGenerator[Delta, None]:
        if len(self.generations) < self.deaths:
            self.generations.append(generation)
            for words in self.last_words:
                assert isinstance(words, Delta)
                yield words
            if self.stays_away:
                self.lost = "the engine is being started again"
            raise EngineLost("the engine was lost")
        async for one in super().generate(generation, ended):
            yield one


@pytest.mark.parametrize("stream", [False, True])
def test_what_had_not_begun_is_answered_when_the_engine_is_back(stream: bool) -> None:
    backend = Mortal()
    with serving(backend) as gateway:
        response = httpx.post(gateway.url + URL, json=body(stream=stream))
    assert response.status_code == 200
    assert response.text.count("Hello") == 1
    assert len({generation.request_id for generation in backend.generations}) == 2


def test_of_several_choices_each_is_asked_again() -> None:
    backend = Mortal(deaths=3)
    with serving(backend) as gateway:
        response = httpx.post(gateway.url + URL, json=body(n=3))
    assert [choice["text"] for choice in response.json()["choices"]] == ["Hello world"] * 3
    assert len({generation.request_id for generation in backend.generations}) == 6


def test_it_is_asked_no_third_time() -> None:
    backend = Mortal(deaths=5)
    with serving(backend) as gateway:
        response = httpx.post(gateway.url + URL, json=body(stream=True))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
    assert "retry-after" in response.headers
    assert len(backend.generations) == 2


def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    backend = Mortal(last_words=(delta("Once"),))
    with serving(backend) as gateway:
        response = httpx.post(gateway.url + URL, json=body(stream=True))
    assert json.loads(response.text.split("data: ")[-1])["error"]["code"] == "engine_unavailable"
    assert len(backend.generations) == 1


@pytest.mark.parametrize(
    ("settings", "headers"),
    [({"queue_timeout_s": 0.2}, {}), ({}, {"x-request-timeout": "0.2"}), ({"request_timeout_s": 0.2}, {})],
)
def test_an_engine_that_does_not_come_back_in_time_is_503(settings: dict[str, Any], headers: dict[str, str]) -> None:
    backend = Mortal(stays_away=True)
    with serving(backend, **settings) as gateway:
        response = httpx.post(gateway.url + URL, json=body(stream=True), headers=headers)
    assert (response.status_code, response.json()["error"]["message"]) == (503, "the engine was lost")
    assert "retry-after" in response.headers
    assert len(backend.generations) == 1


def test_a_request_that_comes_while_the_engine_is_away_does_not_wait_for_it() -> None:
    backend = ScriptedBackend(lost="the engine is being started again")
    with serving(backend) as gateway:
        response = httpx.post(gateway.url + URL, json=body())
    assert (response.status_code, response.json()["error"]["message"]) == (503, "the engine is being started again")
    assert backend.generations == []


def test_a_client_that_leaves_meanwhile_is_not_waited_for() -> None:
    backend = Mortal(stays_away=True)
    with serving(backend) as gateway:
        with gateway.post_unread(URL, json.dumps(body()).encode()):
            while not backend.generations:
                httpx.get(f"{gateway.url}/health/live")
        backend.wait_for_cancels(1)
        backend.lost = None
        assert httpx.post(gateway.url + URL, json=body()).status_code == 200
    assert len(backend.generations) == 2


def test_a_server_that_stops_does_not_wait_for_the_engine() -> None:
    backend = Mortal(stays_away=True)
    with ThreadPoolExecutor(1) as pool, serving(backend, shutdown_grace_s=0.1) as gateway:
        asked = pool.submit(httpx.post, gateway.url + URL, json=body(), timeout=120)
        while not backend.generations:
            httpx.get(f"{gateway.url}/health/live")
        gateway.begin_shutdown()
        assert asked.result().status_code == 503
