"""/v1/files by hand: bounds, and forms that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import httpx
import pytest

from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import serving

BOUNDARY = b"--b\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        serving(ScriptedBackend(), max_file_bytes=2 << 20, store_max_bytes=3 << 20) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        yield client


def upload(
    client: httpx.Client,
    content: bytes = b"{}",
    name: str = "a.jsonl",
    fields: Mapping[str, str] = MappingProxyType({}),
) -> httpx.Response:
    return client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "batch", **fields})


def error(response: httpx.Response) -> tuple[int, str | None]:
    found = json.loads(response.content)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return response.status_code, found["param"]


def test_a_file_comes_back_byte_for_byte_and_never_as_a_page(client: httpx.Client) -> None:
    page = b"<script>alert(1)</script>" * 70_000
    made = upload(client, page, "../../evil\\x.html").json()
    assert made["filename"] == "x.html"
    assert made["bytes"] == len(page)
    got = client.get(f"/v1/files/{made['id']}/content")
    assert got.content == page
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''x.html"
    assert client.delete(f"/v1/files/{made['id']}").json() == {"id": made["id"], "object": "file", "deleted": True}
    assert error(client.get(f"/v1/files/{made['id']}/content")) == (404, "id")
    assert error(client.delete(f"/v1/files/{made['id']}")) == (404, "id")


def test_a_file_may_expire(client: httpx.Client) -> None:
    ok = upload(client, fields={"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()
    assert ok["expires_at"] == ok["created_at"] + 3600
    for seconds in ("3599", "x", "-1", "99999999999"):
        fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
        assert error(upload(client, fields=fields)) == (400, "expires_after")


def test_files_are_bounded_one_by_one_and_together(client: httpx.Client) -> None:
    assert error(upload(client, b"x" * (2 << 20) + b"x")) == (400, "file")
    assert upload(client, b"x" * (4 << 20)).status_code == 413
    kept = [upload(client, b"x" * (1 << 20)) for _ in range(4)]
    assert [each.status_code for each in kept] == [200, 200, 507, 507]
    assert len(client.get("/v1/files").json()["data"]) == 3  # one of the test before
    for each in kept[:2]:
        client.delete(f"/v1/files/{each.json()['id']}")
    assert upload(client, b"x" * (1 << 20)).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"nothing"),
        ("multipart/form-data; boundary=b", BOUNDARY + b"x" * 100_000),
        ("multipart/form-data; boundary=b", BOUNDARY + b"content-disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            BOUNDARY + b'content-disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
        ),
        (
            "multipart/form-data; boundary=b",
            (BOUNDARY + b'content-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n') * 2 + b"--b--\r\n",
        ),
        (
            "multipart/form-data; boundary=b",
            (BOUNDARY + b'content-disposition: form-data; name="a"\r\n\r\nx\r\n') * 1000 + b"--b--\r\n",
        ),
    ],
)
def test_what_is_no_form_with_a_file_is_rejected(client: httpx.Client, content_type: str, body: bytes) -> None:
    status, _ = error(client.post("/v1/files", content=body, headers={"content-type": content_type}))
    assert status in {400, 415}


def test_a_purpose_is_needed(client: httpx.Client) -> None:
    assert error(upload(client, fields={"purpose": "fun"})) == (400, "purpose")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "order=up"])
def test_a_wrong_query_is_rejected_by_name(client: httpx.Client, query: str) -> None:
    assert error(client.get(f"/v1/files?{query}")) == (400, query.partition("=")[0])
