"""Responses that are made in the background: followed, cancelled from any process, ended with their process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.dialects.responses.bodies import PATH, body, create, events_of, rejected
from tests.gateway.scrape import requests, scrape_until
from tests.gateway.scripted_backend import HANG, ScriptedBackend, delta
from tests.gateway.server import serving
from tests.waiting import wait_for
from triton_repo.contract.errors import EngineFailed, InvalidRequest

ENDED = ("completed", "incomplete", "failed", "cancelled")


@contextmanager
def client_of(backend: ScriptedBackend, **settings: Any) -> Iterator[httpx.Client]:
    with serving(backend, **settings) as gateway, httpx.Client(base_url=gateway.url, timeout=120) as client:
        yield client


def get(client: httpx.Client, id: str) -> dict[str, Any]:
    response: dict[str, Any] = client.get(f"{PATH}/{id}").json()
    return response


def ended(client: httpx.Client, id: str) -> dict[str, Any]:
    wait_for(lambda: get(client, id)["status"] in ENDED, lambda: str(get(client, id)))
    return get(client, id)


def follow(client: httpx.Client, id: str, after: int | None = None) -> list[dict[str, Any]]:
    query = {"stream": "true"} | ({} if after is None else {"starting_after": str(after)})
    return events_of(client.get(f"{PATH}/{id}", params=query).text)


def test_it_is_queued_and_then_complete_and_counts_once() -> None:
    with client_of(ScriptedBackend()) as client:
        queued = create(client, background=True)
        assert (queued["status"], queued["output"], queued["background"]) == ("queued", [], True)
        response = ended(client, queued["id"])
        assert response["output"][0]["content"][0]["text"] == "Hello world"
        assert (response["created_at"], response["usage"]["total_tokens"]) == (queued["created_at"], 5)
        series = scrape_until(str(client.base_url), requests)
        assert requests(series) == {(PATH, "demo", "2xx", "stop"): 1}
        assert create(client, previous_response_id=queued["id"])["status"] == "completed"


def test_its_stream_can_be_followed_from_any_event() -> None:
    with client_of(ScriptedBackend()) as client:
        posted = events_of(client.post(PATH, json=body(background=True, stream=True)).text)
        assert [event["type"] for event in posted[:3]] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]
        assert [event["response"]["status"] for event in posted[:3]] == ["queued", "queued", "in_progress"]
        id = posted[0]["response"]["id"]
        assert [event["sequence_number"] for event in posted] == [*range(len(posted))]
        assert follow(client, id) == posted
        assert follow(client, id, 4) == posted[5:]
        assert get(client, id) == posted[-1]["response"]
        assert client.get(f"{PATH}/{id}", params={"stream": "true", "starting_after": "-1"}).status_code == 400


def test_a_stream_is_followed_while_it_grows_and_after_its_first_client_has_left() -> None:
    backend = ScriptedBackend([delta("Hel"), HANG])
    with client_of(backend) as client:
        with client.stream("POST", PATH, json=body(background=True, stream=True)) as posted:
            lines = posted.iter_lines()
            assert next(lines) == "event: response.created"
            id = next(lines).split('"id":"')[1].split('"')[0]
        assert get(client, id)["status"] == "in_progress"
        assert client.post(f"{PATH}/{id}/cancel").json()["status"] == "cancelled"
        events = follow(client, id)
        assert "Hel" in [event.get("delta") for event in events]
        assert backend.cancelled


def test_cancelling_stops_the_engine_at_once_and_may_be_repeated() -> None:
    backend = ScriptedBackend([delta("Hel"), HANG])
    with client_of(backend) as client:
        id = create(client, background=True)["id"]
        wait_for(lambda: backend.generations, lambda: "not begun")
        for _ in range(2):
            assert client.post(f"{PATH}/{id}/cancel").json()["status"] == "cancelled"
        backend.wait_for_cancels(1)
        assert get(client, id)["status"] == "cancelled"
        assert "is cancelled" in rejected(client, previous_response_id=id)["message"]


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_another_process_ends_it_too(tmp_path: Path, how: str) -> None:
    store, backend = tmp_path / "store.sqlite", ScriptedBackend([delta("Hel"), HANG])
    with client_of(backend, store=store) as here, client_of(ScriptedBackend(), store=store) as there:
        id = create(here, background=True)["id"]
        wait_for(lambda: backend.generations, lambda: "not begun")
        answer = there.post(f"{PATH}/{id}/cancel") if how == "cancel" else there.delete(f"{PATH}/{id}")
        assert answer.status_code == 200
        backend.wait_for_cancels(1)
        assert here.get(f"{PATH}/{id}").status_code == (200 if how == "cancel" else 404)


def test_another_process_follows_its_stream(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with client_of(ScriptedBackend(), store=store) as here, client_of(ScriptedBackend(), store=store) as there:
        posted = events_of(here.post(PATH, json=body(background=True, stream=True)).text)
        assert follow(there, posted[0]["response"]["id"]) == posted


def test_one_that_fails_says_why() -> None:
    backend = ScriptedBackend()
    with client_of(backend) as client:
        for steps in ([EngineFailed("broken")], [delta("Hel"), EngineFailed("broken")]):
            backend.script = steps
            response = ended(client, create(client, background=True)["id"])
            assert (response["status"], response["error"]["message"]) == ("failed", "broken")
            posted = events_of(client.post(PATH, json=body(background=True, stream=True)).text)
            assert [event["type"] for event in posted].count("response.failed") == 1
            assert [event["sequence_number"] for event in posted] == [*range(len(posted))]
            assert posted[-1]["response"] == get(client, posted[0]["response"]["id"])


def test_what_can_be_known_to_be_wrong_is_a_status() -> None:
    with client_of(ScriptedBackend([InvalidRequest("x")])) as client:
        assert client.post(PATH, json=body(background=True, model="other")).status_code == 404
        error = rejected(client, background=True, tools=[{"type": "function", "name": "f"}])
        assert error["param"] == "tools"


def test_as_many_as_may_be_answered_at_a_time_may_be_in_the_background() -> None:
    backend = ScriptedBackend([delta("Hel"), 0.5, delta("lo", "stop", 2)])
    with client_of(backend, max_concurrent_requests=1) as client:
        id = create(client, background=True)["id"]
        wait_for(lambda: backend.generations, lambda: "not begun")
        assert client.post(PATH, json=body()).status_code == 503
        assert client.post(PATH, json=body(background=True)).status_code == 503
        assert ended(client, id)["status"] == "completed"


def test_a_key_that_may_have_one_request_at_a_time_may_have_it_in_the_background(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    digest = hashlib.sha256(b"alice").hexdigest()
    keys.write_text(f"alice {digest} parallel=1 requests_per_minute=9\n", encoding="utf-8")
    with client_of(ScriptedBackend(), api_keys_file=keys) as client:
        client.headers["authorization"] = "Bearer alice"
        answer = client.post(PATH, json=body(background=True))
        assert answer.headers["x-ratelimit-remaining-requests"] == "8"
        assert ended(client, answer.json()["id"])["status"] == "completed"


def test_what_a_process_leaves_open_fails_when_it_ends(tmp_path: Path) -> None:
    store, backend = tmp_path / "store.sqlite", ScriptedBackend([delta("Hel"), HANG])
    with client_of(backend, store=store) as client:
        id = create(client, background=True)["id"]
        wait_for(lambda: backend.generations, lambda: "not begun")
    with client_of(ScriptedBackend(), store=store) as client:
        response = get(client, id)
        assert response["status"] == "failed"
        assert response["error"]["code"] == "server_error"
