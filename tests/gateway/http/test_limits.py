"""What the keys of a file may do, as their clients see it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.catalog import watched_file
from tests.gateway.bodies import refusal
from tests.gateway.http.test_http import every_endpoint
from tests.gateway.scrape import scrape_until, value
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend
from tests.gateway.server import Running, serving

CHAT = "/v1/chat/completions"


@contextmanager
def limited(tmp_path: Path, words: str, backend: ScriptedBackend | None = None, **settings: Any) -> Iterator[Running]:
    file = tmp_path / "keys"
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in ("sk-a", "sk-b")]
    file.write_text(f"alice {digests[0]} {words}\nbob {digests[1]}\n", encoding="utf-8")
    with serving(backend or ScriptedBackend(), api_keys_file=file, **settings) as gateway:
        yield gateway


def post(gateway: Running, key: str = "sk-a", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return httpx.post(
        gateway.url + CHAT, json=body, headers={"authorization": f"Bearer {key}", **(headers or {})}, timeout=120
    )


def test_a_key_that_asks_too_often_gets_429_and_others_their_answers(tmp_path: Path) -> None:
    with limited(tmp_path, "requests_per_minute=2") as gateway:
        answers = [post(gateway) for _ in range(3)]
        assert post(gateway, "sk-b").status_code == 200
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    error = refusal(answers[2], 429)
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert 25 <= int(answers[2].headers["retry-after"]) <= 30
    assert answers[2].headers["retry-after-ms"].isdecimal()
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["2"] * 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]


def test_all_that_makes_something_counts_and_to_read_cancel_or_delete_does_not(tmp_path: Path) -> None:
    endpoints = [(method, path) for method, path in every_endpoint() if path.startswith(("/v1/", "/v2/"))]
    orders = ("/load", "/unload", "load_lora_adapter")
    endpoints = [each for each in endpoints if not each[1].endswith(orders)]  # the operator's
    keys = [f"sk-{number}" for number in range(len(endpoints))]
    digests = (hashlib.sha256(key.encode()).hexdigest() for key in keys)
    (tmp_path / "keys").write_text(
        "".join(f"key-{number} {digest} requests_per_minute=1\n" for number, digest in enumerate(digests)),
        encoding="utf-8",
    )
    with serving(ScriptedBackend(), api_keys_file=tmp_path / "keys") as gateway, httpx.Client() as client:
        limited, untold = {}, set()
        for (method, path), key in zip(endpoints, keys, strict=True):
            headers = {"authorization": f"Bearer {key}"}
            answers = [client.request(method, gateway.url + path, headers=headers) for _ in range(2)]
            limited[method, path] = answers[1].status_code == 429
            untold |= {path for answer in answers if answer.headers.get("x-ratelimit-limit-requests") != "1"}
    assert {each for each, is_limited in limited.items() if is_limited} == {
        (method, path) for method, path in endpoints if method == "POST" and not path.endswith("/cancel")
    }
    assert untold == {path for _, path in endpoints if re.search("/(health|metrics)", path)}, "which need no key"


def test_tokens_are_counted_as_the_answer_has_them_in_the_end(tmp_path: Path) -> None:
    with limited(tmp_path, "tokens_per_minute=600") as gateway:
        for stream in (False, True):  # each may take 500, takes 5, and gives the rest back
            answer = post(gateway, max_tokens=400, stream=stream)
            assert answer.status_code == 200
        left = int(post(gateway, max_tokens=1).headers["x-ratelimit-remaining-tokens"])
        assert 500 < left < 600


def test_a_request_that_is_rejected_for_its_tokens_says_when_there_are_enough(tmp_path: Path) -> None:
    backend = ScriptedBackend([HANG])
    with limited(tmp_path, "tokens_per_minute=300", backend) as gateway, ThreadPoolExecutor(1) as pool:
        pool.submit(post, gateway, max_tokens=200)
        while not backend.generations:
            httpx.get(f"{gateway.url}/health/live")
        answer = post(gateway, max_tokens=200)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        gateway.begin_shutdown()


@pytest.mark.parametrize("stream", [False, True])
def test_so_many_requests_of_a_key_are_answered_at_a_time(tmp_path: Path, stream: bool) -> None:
    backend = ScriptedBackend([HANG])
    with limited(tmp_path, "parallel=2", backend) as gateway, ThreadPoolExecutor(3) as pool:
        for _ in range(2):
            pool.submit(post, gateway, stream=stream)
        pool.submit(post, gateway, "sk-b")
        while len(backend.generations) < 3:
            httpx.get(f"{gateway.url}/health/live")
        assert post(gateway).status_code == 429
        gateway.begin_shutdown()


def test_a_key_sees_and_uses_its_own_models_alone(tmp_path: Path) -> None:
    backend = ScriptedBackend(cards={"demo": CARD, "chat": CARD})
    with limited(tmp_path, "models=chat", backend) as gateway:
        as_alice = {"authorization": "Bearer sk-a"}
        listed = httpx.get(gateway.url + "/v1/models", headers=as_alice).json()["data"]
        hidden = httpx.get(gateway.url + "/v1/models/demo", headers=as_alice)
        answers = [post(gateway), post(gateway, model="chat"), post(gateway, "sk-b"), post(gateway, model="none")]
    assert [model["id"] for model in listed] == ["chat"]
    assert [answer.status_code for answer in (hidden, *answers)] == [404, 404, 200, 200, 404]
    assert refusal(answers[0], 404)["message"].replace("demo", "none") == refusal(answers[3], 404)["message"]


def test_limits_of_a_changed_file_hold_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "_LOOK_AGAIN_S", 0.0)
    with limited(tmp_path, "") as gateway:
        assert "x-ratelimit-limit-requests" not in post(gateway).headers
        file = tmp_path / "keys"
        file.write_text(file.read_text(encoding="utf-8").replace(" \n", " requests_per_minute=1\n"), encoding="utf-8")
        assert [post(gateway).status_code for _ in range(2)] == [200, 429]


def test_openais_client_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    with limited(tmp_path, "requests_per_minute=240") as gateway:
        client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="sk-a", max_retries=5)
        for _ in range(243):
            post(gateway)
        answer = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "Hello"}])
        client.close()
    assert answer.choices[0].message.content == "Hello world"


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "priority", "scale", None])
def test_the_service_tiers_of_openai_are_known(tmp_path: Path, tier: str | None) -> None:
    with serving(ScriptedBackend()) as gateway:
        assert post(gateway, service_tier=tier).status_code == 200
        assert refusal(post(gateway, service_tier="fast"))["param"] == "service_tier"


def admin(gateway: Running, key: str | None, path: str = "/admin/status") -> httpx.Response:
    return httpx.get(gateway.url + path, headers={"authorization": f"Bearer {key}"} if key else {})


def test_the_operators_key_opens_what_is_the_operators_and_nothing_else(tmp_path: Path) -> None:
    with limited(tmp_path, "requests_per_minute=5 priority=batch", api_key="sk-own", admin_key="sk-admin") as gateway:
        post(gateway)
        status = admin(gateway, "sk-admin")
        assert [admin(gateway, key).status_code for key in ("sk-a", "sk-own", "sk-x", None)] == [401] * 4
        assert admin(gateway, "sk-admin", "/v1/models").status_code == 401
        assert post(gateway, "sk-admin").status_code == 401
    alice = status.json()["keys"]["alice"]
    assert (alice["open"], alice["priority"], alice["models"]) == (0, "batch", None)
    assert (alice["x-ratelimit-limit-requests"], alice["x-ratelimit-remaining-requests"]) == ("5", "4")
    assert status.json()["engines"] == {"demo": {"running": 0, "waiting": 0, "drain_s": None}}


@pytest.mark.parametrize("settings", [{}, {"api_key": "sk-own"}])
def test_without_an_operators_key_none_opens_what_is_the_operators(settings: dict[str, str]) -> None:
    with serving(ScriptedBackend(), **settings) as gateway:
        paths = ("/admin/status", "/admin/", "/admin/nothing")
        assert {admin(gateway, key, path).status_code for key in (None, "sk-own", "") for path in paths} == {401}


def test_where_no_key_is_needed_all_share_one_turn() -> None:
    with serving(ScriptedBackend(), admin_key="sk-admin") as gateway:
        assert post(gateway).status_code == 200
        assert admin(gateway, "sk-admin").json()["keys"] == {}


def test_a_busy_model_does_not_exist_for_a_key_that_may_not_use_it(tmp_path: Path) -> None:
    backend = ScriptedBackend([HANG], cards={"demo": replace(CARD, max_batch_size=1)})
    with limited(tmp_path, "models=other", backend) as gateway, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(post, gateway, "sk-b")
        scrape_until(gateway.url, lambda series: value(series, "conch_requests_waiting") == 2)
        answers = [post(gateway, key, {"x-request-timeout": "1e-6"}) for key in ("sk-a", "sk-b")]
        gateway.begin_shutdown()
    assert [answer.status_code for answer in answers] == [404, 503]
