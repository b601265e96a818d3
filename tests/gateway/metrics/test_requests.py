"""GET /metrics: every way in which a request can end is counted once, and what is timed is what the name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat
from tests.gateway.scrape import requests, scrape, scrape_until, value
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, Step, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed, EngineUnavailable

TIMES = ("conch_time_to_first_token_seconds", "conch_time_per_output_token_seconds", "conch_request_duration_seconds")


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [HELLO], **fields}


def num_timed(url: str) -> tuple[float, ...]:
    """How many requests have a time to first token, a time per output token and a duration."""
    return tuple(value(scrape(url), f"{name}_count") for name in TIMES)


ENDINGS: list[tuple[list[Step], dict[str, Any], tuple[str, str]]] = [
    ([delta("a", "stop")], {}, ("2xx", "stop")),
    ([delta("a", "stop")], {"stream": True}, ("2xx", "stop")),
    ([delta("a"), delta("b", "length", 2)], {}, ("2xx", "length")),
    ([delta("a"), delta("b", "length", 2)], {"stream": True, "n": 3}, ("2xx", "length")),
    ([delta("a"), delta("bc", "", 2), HANG], {"stream": True, "stop": "c"}, ("2xx", "stop")),
    ([delta("a"), EngineFailed("no")], {"stream": True}, ("2xx", "error")),
    ([delta("a"), ValueError("a bug")], {"stream": True}, ("2xx", "error")),
    ([delta("a"), delta("", "cancelled")], {"stream": True}, ("2xx", "error")),
    ([EngineFailed("no")], {}, ("5xx", "error")),
    ([EngineUnavailable("full")], {"stream": True}, ("5xx", "error")),
    ([ValueError("a bug")], {}, ("5xx", "error")),
    ([], {"temperature": -1}, ("4xx", "error")),
]


@pytest.mark.parametrize(("script", "fields", "expected"), ENDINGS)
def test_a_request_is_counted_once_by_how_it_ended(
    script: list[Step], fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    with serving(ScriptedBackend(script)) as gateway:
        httpx.post(gateway.url + CHAT, json=body(**fields))
        series = scrape_until(gateway.url, requests)
    model = "" if "temperature" in fields else "demo"  # rejected before the model was looked up
    assert requests(series) == {(CHAT, model, *expected): 1}
    assert value(series, "conch_requests_in_flight") == 0


def test_endpoints_and_models_have_their_own_counts_and_no_client_makes_up_a_label() -> None:
    with serving(ScriptedBackend()) as gateway:
        httpx.post(gateway.url + CHAT, json=body())
        httpx.post(gateway.url + COMPLETIONS, json={"model": "demo", "prompt": ["a", "b"]})
        for number in range(3):
            httpx.post(gateway.url + CHAT, json=body(model=f"made up {number}"))
            httpx.post(f"{gateway.url}/v1/made/up/{number}", json=body())
        assert requests(scrape(gateway.url)) == {
            (CHAT, "demo", "2xx", "stop"): 1,
            (COMPLETIONS, "demo", "2xx", "stop"): 1,
            (CHAT, "", "4xx", "error"): 3,
        }


def test_a_client_that_leaves_mid_stream_is_counted_as_cancelled_with_the_tokens_it_cost() -> None:
    backend = ScriptedBackend([delta("a"), delta("b", completion_tokens=7), HANG])
    with serving(backend) as gateway:
        with httpx.stream("POST", gateway.url + CHAT, json=body(stream=True)) as response:
            text = response.iter_text()
            while '"b"' not in next(text):
                pass
            assert value(scrape(gateway.url), "conch_requests_in_flight") == 1
        series = scrape_until(gateway.url, requests)
        assert requests(series) == {(CHAT, "demo", "2xx", "cancelled"): 1}
        assert value(series, "conch_completion_tokens_total", model="demo") == 7
        assert value(series, "conch_requests_in_flight") == 0
        assert num_timed(gateway.url) == (1, 0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_the_first_token_is_counted_as_cancelled(stream: bool) -> None:
    backend = ScriptedBackend([HANG])
    with serving(backend) as gateway:
        with gateway.post_unread(CHAT, chat(stream=stream)):
            while not backend.generations:
                scrape(gateway.url)
        assert requests(scrape_until(gateway.url, requests)) == {(CHAT, "demo", "4xx", "cancelled"): 1}
        assert num_timed(gateway.url) == (0, 0, 0)


def test_tokens_of_prompts_count_once_and_those_of_answers_for_every_choice() -> None:
    with serving(ScriptedBackend()) as gateway:  # 3 tokens of prompt, 2 of answer
        httpx.post(gateway.url + CHAT, json=body())
        httpx.post(gateway.url + COMPLETIONS, json={"model": "demo", "prompt": ["a", "b"], "n": 2})
        series = scrape(gateway.url)
    assert value(series, "conch_prompt_tokens_total", model="demo") == 3 + 2 * 3
    assert value(series, "conch_completion_tokens_total", model="demo") == 2 + 4 * 2


@pytest.mark.parametrize(
    ("script", "stream", "expected"),
    [
        ([delta("a"), delta("b", "stop", 2)], True, (1, 1, 1)),
        ([delta("a"), delta("b", "stop", 2)], False, (0, 0, 1)),  # its client gets all tokens at once
        ([delta("a", "stop")], True, (1, 0, 1)),  # there is no token after the first
        ([delta("a"), EngineFailed("no")], True, (1, 0, 0)),
        ([EngineFailed("no")], True, (0, 0, 0)),
    ],
)
def test_only_what_took_place_is_timed(script: list[Step], stream: bool, expected: tuple[int, ...]) -> None:
    with serving(ScriptedBackend(script)) as gateway:
        httpx.post(gateway.url + CHAT, json=body(stream=stream))
        scrape_until(gateway.url, requests)
        assert num_timed(gateway.url) == expected


def test_the_first_token_and_the_time_per_token_after_it_add_up_to_the_whole() -> None:
    with serving(ScriptedBackend([0.2, delta("a"), 0.4, delta("b", "stop", 5)])) as gateway:
        httpx.post(gateway.url + CHAT, json=body(stream=True))
        series = scrape_until(gateway.url, requests)
    first, token, whole = (value(series, f"{name}_sum", model="demo") for name in TIMES)
    assert first > 0
    assert token > 0
    assert first + 4 * token == pytest.approx(whole)


@pytest.mark.parametrize("media_type", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize("version", ["x", "1..0", "2.x", "1.0.é", "9" * 5000])
def test_an_unknown_version_of_the_format_gets_plain_text(media_type: str, version: str) -> None:
    accept = f"{media_type}; version={version}".encode()
    with serving(ScriptedBackend()) as gateway:
        answer = httpx.get(f"{gateway.url}/metrics", headers={b"accept": accept})
    assert answer.status_code == 200
    assert "# TYPE conch_requests_in_flight gauge" in answer.text


def test_the_format_is_the_one_that_is_asked_for() -> None:
    openmetrics = "application/openmetrics-text; version=1.0.0"
    with serving(ScriptedBackend()) as gateway:
        plain = httpx.get(f"{gateway.url}/metrics")
        asked = httpx.get(f"{gateway.url}/metrics", headers={"accept": openmetrics})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert asked.headers["content-type"].startswith(openmetrics)
    assert asked.text.endswith("# EOF\n")
    assert "_created" not in plain.text


def test_what_is_rejected_is_counted_by_its_reason() -> None:
    backend = ScriptedBackend([EngineFailed("no")])
    with serving(backend, max_concurrent_requests=1) as gateway:
        httpx.post(gateway.url + CHAT, json=body())
        httpx.post(gateway.url + CHAT, json=body(temperature=-1))
        httpx.post(gateway.url + CHAT, json=body(model="made up"))
        httpx.post(gateway.url + CHAT, json=body(stream=True))
        series = scrape(gateway.url)
    reasons = {
        (dict(labels)["model"], dict(labels)["reason"]): count
        for (name, labels), count in series.items()
        if name == "conch_requests_rejected_total"
    }
    assert reasons == {
        ("demo", "engine_failed"): 2,
        ("", "invalid_request_error"): 1,
        ("", "model_not_found"): 1,
    }


def test_every_token_after_the_first_of_a_stream_is_timed_once() -> None:
    script = [delta("a", completion_tokens=2), 0.05, delta("b", completion_tokens=6), 0.05, delta("c", "stop", 7)]
    with serving(ScriptedBackend(script)) as gateway:
        httpx.post(gateway.url + CHAT, json=body(stream=True))
        series = scrape_until(gateway.url, requests)
    name = "conch_inter_token_latency_seconds"
    assert value(series, f"{name}_count") == 5
    assert value(series, f"{name}_sum") > 0.05
    buckets = [value(series, f"{name}_bucket", le=le) for le in ("0.001", "0.075", "+Inf")]
    assert buckets[0] <= buckets[1] <= buckets[2] == 5


def test_cached_tokens_are_those_that_engines_tell_of() -> None:
    for cached, expected in ((-1, 0), (2, 2)):
        with serving(ScriptedBackend([delta("a", "stop", cached_tokens=cached)])) as gateway:
            httpx.post(gateway.url + CHAT, json=body())
            assert value(scrape_until(gateway.url, requests), "conch_cached_tokens_total") == expected


def test_what_is_counted_says_which_version_and_arm_answered(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text('[aliases]\nassistant = {"demo@1" = 0, "demo@2" = 100}\n', encoding="utf-8")
    backend = ScriptedBackend(cards={"demo": CARD, "demo@2": CARD})
    with serving(backend, catalog=catalog) as gateway:
        for model in ("demo@1", "demo@2", "assistant"):
            httpx.post(gateway.url + CHAT, json=body(model=model))
        series = scrape(gateway.url)
    for version, arm, count in (("1", "", 1), ("2", "", 1), ("2", "demo@2", 1)):
        of = {"model": "demo", "version": version, "arm": arm}
        assert value(series, "conch_requests_total", **of) == count
        assert value(series, "conch_request_duration_seconds_count", **of) == count
    assert value(series, "conch_requests_running", model="demo@2") == 0
