"""Responses that are kept: who sees them, how they are listed, and what is no longer there."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.gateway.dialects.responses.bodies import PATH, body, create, rejected, stream
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import serving


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(ScriptedBackend()) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def get(client: httpx.Client, id: str, **query: Any) -> httpx.Response:
    return client.get(f"{PATH}/{quote(id, safe='')}", params=query)


def listed(client: httpx.Client, id: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{id}/input_items", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def texts(page: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in page["data"]]


def test_a_response_is_kept_as_it_was_sent(client: httpx.Client) -> None:
    for response in (create(client, metadata={"a": "b"}), stream(client)[-1]["response"]):
        assert get(client, response["id"]).json() == response


def test_one_that_is_not_to_be_stored_is_not(client: httpx.Client) -> None:
    response = create(client, store=False)
    assert response["store"] is False
    assert get(client, response["id"]).status_code == 404
    assert rejected(client, previous_response_id=response["id"])["code"] == "previous_response_not_found"


def test_a_deleted_response_is_gone_with_its_items(client: httpx.Client) -> None:
    id = create(client)["id"]
    assert client.delete(f"{PATH}/{id}").json() == {"id": id, "object": "response", "deleted": True}
    for answer in (get(client, id), client.delete(f"{PATH}/{id}"), client.get(f"{PATH}/{id}/input_items")):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "response_not_found"


@pytest.mark.parametrize("id", ["resp_x", "x' OR '1'='1", "a; DROP TABLE responses; --", "%00", "\x00", "ü" * 3000])
def test_ids_that_no_response_has_are_not_found(client: httpx.Client, id: str) -> None:
    assert get(client, id).status_code == 404
    assert client.post(f"{PATH}/{quote(id, safe='')}/cancel").status_code == 404
    assert get(client, create(client)["id"]).status_code == 200


def test_input_items_are_those_of_the_whole_conversation_page_by_page(client: httpx.Client) -> None:
    first = create(client, input=[{"role": "user", "content": text} for text in ("a", "b")])
    second = create(client, input="c", previous_response_id=first["id"])
    page = listed(client, second["id"], order="asc")
    assert texts(page) == ["a", "b", "Hello world", "c"]
    assert (page["object"], page["has_more"]) == ("list", False)
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
    assert texts(listed(client, second["id"])) == ["c", "Hello world", "b", "a"]
    assert texts(listed(client, first["id"], order="asc")) == ["a", "b"]
    part = listed(client, second["id"], order="asc", limit=2, after=page["data"][0]["id"])
    assert (texts(part), part["has_more"]) == (["b", "Hello world"], True)
    assert texts(listed(client, second["id"], order="asc", after=part["last_id"])) == ["c"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"limit": "9" * 99}, {"order": "up"}, {"after": "msg_x"}]
)
def test_a_page_that_there_is_not_is_rejected(client: httpx.Client, query: dict[str, Any]) -> None:
    answer = client.get(f"{PATH}/{create(client)['id']}/input_items", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(query))


def test_what_was_not_made_in_the_background_cannot_be_cancelled_or_followed(client: httpx.Client) -> None:
    id = create(client)["id"]
    assert client.post(f"{PATH}/{id}/cancel").json()["error"]["param"] == "background"
    assert get(client, id, stream="true").json()["error"]["param"] == "stream"


def test_a_query_that_is_not_understood_is_rejected(client: httpx.Client) -> None:
    id = create(client)["id"]
    assert get(client, id, stream="false").status_code == 200
    assert get(client, id, stream="yes").json()["error"]["param"] == "stream"


def test_every_path_is_described_with_its_query(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    own = {path: {*described} for path, described in paths.items() if path.startswith(PATH)}
    assert own == {
        PATH: {"post"},
        PATH + "/input_tokens": {"post"},
        PATH + "/{response}": {"get", "delete"},
        PATH + "/{response}/cancel": {"post"},
        PATH + "/{response}/input_items": {"get"},
    }
    names = [parameter["name"] for parameter in paths[PATH + "/{response}/input_items"]["get"]["parameters"]]
    assert names == ["response", "include", "limit", "order", "after"]


def test_each_path_has_the_methods_that_it_has(client: httpx.Client) -> None:
    id = create(client)["id"]
    assert client.put(f"{PATH}/{id}").status_code == 405
    assert client.get(PATH).status_code == 405
    assert client.get(f"{PATH}/{id}/cancel").status_code == 405


def test_a_key_sees_its_own_responses_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(
        "".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("alice", "bob")), encoding="utf-8"
    )
    with serving(ScriptedBackend(), api_keys_file=keys) as gateway:
        alice, bob = (
            httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {name}"}) for name in ("alice", "bob")
        )
        with alice, bob:
            response = create(alice)
            item = listed(alice, response["id"])["data"][0]["id"]
            assert get(alice, response["id"]).status_code == 200
            for answer in (
                get(bob, response["id"]),
                get(bob, response["id"], stream="true"),
                bob.delete(f"{PATH}/{response['id']}"),
                bob.post(f"{PATH}/{response['id']}/cancel"),
                bob.get(f"{PATH}/{response['id']}/input_items"),
            ):
                assert answer.status_code == 404
            assert rejected(bob, previous_response_id=response["id"])["code"] == "previous_response_not_found"
            assert "no item" in rejected(bob, input=[{"type": "item_reference", "id": item}])["message"]
            assert get(alice, response["id"]).status_code == 200


def test_what_was_not_used_for_longest_makes_room() -> None:
    with serving(ScriptedBackend(), store_max_responses=3) as gateway, httpx.Client(base_url=gateway.url) as client:
        first = create(client)
        others = [create(client) for _ in range(2)]
        create(client, previous_response_id=first["id"])
        assert get(client, first["id"]).status_code == 200
        assert [get(client, other["id"]).status_code for other in others] == [404, 200]


def test_workers_that_share_a_store_see_the_same_responses(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with (
        serving(ScriptedBackend(), store=store) as one,
        serving(ScriptedBackend(), store=store) as other,
        httpx.Client(base_url=one.url) as here,
        httpx.Client(base_url=other.url) as there,
    ):
        response = create(here)
        assert get(there, response["id"]).json() == response
        create(there, previous_response_id=response["id"])
        assert there.delete(f"{PATH}/{response['id']}").status_code == 200
        assert get(here, response["id"]).status_code == 404


def test_a_store_that_cannot_be_written_is_told_and_nothing_else_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store.sqlite"
    with serving(ScriptedBackend(), store=store) as gateway, httpx.Client(base_url=gateway.url) as client:
        create(client)  # until then the store may not be there yet
        create(client)  # the gateway has made its tables
        with closing(sqlite3.connect(store)) as other:
            other.execute("DROP TABLE response_items")
        answer = client.post(PATH, json=body())
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "store_failed")
        events = stream(client)
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["type"] == "store_failed"
        assert create(client, store=False)["status"] == "completed"
    assert "no such table" in caplog.text
