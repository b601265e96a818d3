"""What surrounds the API: keys, unknown paths, methods, health, pages, the description, CORS and settings."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from gateway.app import create_app
from gateway.endpoints.routes import OPERATIONS
from gateway.http.page_files import PAGE_DIRECTORY, page_path
from gateway.processes.server import Server
from gateway.settings import Settings, flag_values, load_settings, to_flags
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.api_key import API_KEY_VARIABLE
from triton_repo.contract.errors import LaunchError

KEY = "sk-a secret"
PAGES = set(map(page_path, PAGE_DIRECTORY.iterdir()))
NIMS = {"/v1/health/live", "/v1/health/ready", "/v1/metrics"}
OTHERS = {"/ping", "/v1/health"}
KSERVES = {"/v2/health/live", "/v2/health/ready"}
OPEN = {"/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", *NIMS, *OTHERS, *KSERVES, *PAGES}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(ScriptedBackend()) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx.Client]:
    with serving(ScriptedBackend(), api_key=KEY) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def every_endpoint() -> list[tuple[str, str]]:
    """Method and path of every route. A route without them would be one that this walk cannot vouch for."""
    routes = create_app(Settings(), ScriptedBackend()).api.routes
    assert all(isinstance(route, Route) for route in routes)
    found = [(method, route) for route in routes if isinstance(route, Route) for method in route.methods or ()]
    paths = [(method, route.path.replace("{model:path}", "demo")) for method, route in found]
    return sorted(paths + [("POST", path) for path in OPERATIONS])


def test_the_walk_sees_the_routes_that_matter() -> None:
    expected = {
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/demo"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/health/ready"),
        ("GET", "/"),
    }
    assert expected <= set(every_endpoint())


@pytest.mark.parametrize(("method", "path"), every_endpoint())
def test_every_route_needs_the_key_unless_it_is_known_to_be_open(locked: httpx.Client, method: str, path: str) -> None:
    status = locked.request(method, path).status_code
    assert status in (200, 204) if path in OPEN else status == 401


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/models/", "//v1/models", "/models", "/live/health", "/%76%31/models"]
)
def test_a_path_that_only_looks_open_or_does_not_exist_needs_the_key(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 401


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer  x", "Bearer wrong", f"Basic {KEY}", KEY, "Bearer ' OR 1=1 --", "Bearer " + "x" * 100_000],
)
def test_a_wrong_key_is_rejected_with_one_and_the_same_answer(locked: httpx.Client, header: str) -> None:
    response = locked.get("/v1/models", headers={"authorization": header})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == locked.get("/v1/models").json()
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_two_keys_are_no_key(locked: httpx.Client) -> None:
    headers = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer wrong")]
    assert locked.get("/v1/models", headers=headers).status_code == 401


def test_the_right_key_opens(locked: httpx.Client) -> None:
    assert locked.get("/v1/models", headers={"authorization": f"bearer {KEY}"}).status_code == 200


def test_an_unknown_path_and_a_wrong_method_have_the_envelope(client: httpx.Client) -> None:
    unknown, wrong = client.get("/v1/nothing"), client.get("/v1/chat/completions")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    for response in (unknown, wrong):
        assert list(response.json()["error"]) == ["message", "type", "param", "code"]


def test_an_unexpected_error_shows_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ScriptedBackend):
        async def models(self) -> Any:
            raise KeyError("/secret/path")

    with caplog.at_level(logging.ERROR), serving(Broken()) as gateway:
        response = httpx.get(f"{gateway.url}/v1/models", headers={"x-request-id": "abc"})
    assert (response.status_code, response.json()["error"]["message"]) == (500, "internal error")
    assert response.headers["x-request-id"] == "abc"
    assert re.search("request failed: id=[0-9a-f]{32} client_id=abc", caplog.text)


def test_an_unexpected_error_is_one_that_a_page_of_another_origin_may_read() -> None:
    class Broken(ScriptedBackend):
        async def models(self) -> Any:
            raise KeyError

    with serving(Broken(), cors_origins=("http://a.example",)) as gateway:
        response = httpx.get(f"{gateway.url}/v1/models", headers={"origin": "http://a.example"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (500, "http://a.example")


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/chat.js", "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/v1/models"],
)
def test_head_is_get_without_its_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert get.content
    own = {"date", "content-length", "x-request-id"} if path == "/metrics" else {"date", "x-request-id"}
    assert {key: value for key, value in head.headers.items() if key not in own} == {
        key: value for key, value in get.headers.items() if key not in own
    }


def test_head_of_what_takes_no_get_is_rejected(client: httpx.Client) -> None:
    response = client.head("/v1/chat/completions")
    assert (response.status_code, response.headers["allow"], response.content) == (405, "POST", b"")


def test_the_default_check_of_haproxy_succeeds(client: httpx.Client) -> None:
    assert client.options("/").status_code == 204


def test_an_idle_connection_is_kept_for_as_long_as_the_settings_say() -> None:
    assert Settings().keep_alive_timeout_s > 60  # longer than the pools of proxies keep theirs
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with (
        serving(ScriptedBackend(), keep_alive_timeout_s=0.2) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client,
    ):
        client.sendall(request)
        while more := client.recv(65536):
            assert b"live" in more


def test_the_server_keeps_idle_connections_by_the_settings() -> None:
    settings = Settings(keep_alive_timeout_s=12.5)
    assert Server(create_app(settings, ScriptedBackend()), settings).config.timeout_keep_alive == 12.5


def test_health_tells_life_from_use() -> None:
    backend = ScriptedBackend()
    with serving(backend) as gateway:
        assert httpx.get(f"{gateway.url}/health/ready").json() == {"status": "ready"}
        backend.unavailable = "no model is ready"
        ready, models = httpx.get(f"{gateway.url}/health/ready"), httpx.get(f"{gateway.url}/v1/models")
        assert httpx.get(f"{gateway.url}/health").json() == ready.json()
        assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "reason": "no model is ready"})
        assert (models.status_code, models.headers["retry-after"]) == (503, "2")
        assert httpx.get(f"{gateway.url}/health/live").status_code == 200


@pytest.mark.parametrize(("first", "names"), [("", ["a", "b", "c"]), ("b", ["b", "a", "c"]), ("gone", ["a", "b", "c"])])
def test_the_model_that_clients_take_by_default_is_listed_first(first: str, names: list[str]) -> None:
    with serving(ScriptedBackend(cards=dict.fromkeys("cab", CARD)), first_model=first) as gateway:
        assert [model["id"] for model in httpx.get(f"{gateway.url}/v1/models").json()["data"]] == names


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/docs", "text/html"), ("/chat.js", "text/javascript"), ("/chat.css", "text/css")],
)
def test_the_page_and_its_files_are_served(client: httpx.Client, path: str, media_type: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/app.py", "/index.html", "/docs.html"]
)
def test_no_other_file_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", sorted(PAGES))
def test_the_pages_load_nothing_from_other_hosts(client: httpx.Client, path: str) -> None:
    loaded = re.findall(r"""(?:src|href)=["'](?:https?:)?//|import .*["'](?:https?:)?//|url\(""", client.get(path).text)
    assert loaded == []


def test_the_description_holds_both_bodies_and_resolves(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, name in (("chat/completions", "ChatCompletionRequest"), ("completions", "CompletionRequest")):
        body = schema["paths"][f"/v1/{path}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": f"#/components/schemas/{name}"}
        assert {"model", "temperature", "stop"} <= schema["components"]["schemas"][name]["properties"].keys()
    for reference in references(schema):
        assert reference.rpartition("/")[2] in schema["components"]["schemas"]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_a_page_that_is_let_in_may_send_what_openais_client_sends() -> None:
    headers = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"
    asks = {
        "origin": "http://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": headers,
    }
    with serving(ScriptedBackend(), cors_origins=("http://a.example",)) as gateway:
        allowed = httpx.options(f"{gateway.url}/v1/chat/completions", headers=asks)
        other = httpx.options(f"{gateway.url}/v1/chat/completions", headers={**asks, "origin": "http://b.example"})
    assert (allowed.status_code, allowed.headers["access-control-allow-headers"]) == (200, headers)
    assert (other.status_code, other.headers.get("access-control-allow-origin")) == (400, None)


def test_pages_of_other_origins_are_let_in_only_by_name(client: httpx.Client) -> None:
    asks = {"origin": "http://a.example", "access-control-request-method": "POST"}
    assert client.options("/v1/chat/completions", headers=asks).status_code == 405
    with serving(ScriptedBackend(), api_key=KEY, cors_origins=("http://a.example",)) as gateway:
        allowed = httpx.options(f"{gateway.url}/v1/chat/completions", headers=asks)
        other = httpx.options(f"{gateway.url}/v1/chat/completions", headers={**asks, "origin": "http://b.example"})
        denied = httpx.get(f"{gateway.url}/v1/models", headers={"origin": "http://a.example"})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "http://a.example")
    assert "access-control-allow-origin" not in other.headers
    assert (denied.status_code, denied.headers["access-control-allow-origin"]) == (401, "http://a.example")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(("key", "status"), [("wrong", 401), (KEY, 400)])
def test_the_routes_in_front_of_fastapi_are_behind_the_same_layers(path: str, key: str, status: int) -> None:
    headers = {"origin": "http://a.example", "authorization": f"Bearer {key}", "x-request-id": "abc"}
    with serving(ScriptedBackend(), api_key=KEY, cors_origins=("http://a.example",)) as gateway:
        response = httpx.post(gateway.url + path, json={}, headers=headers)
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == "http://a.example"
    assert response.headers["x-request-id"] == "abc"
    assert list(response.json()["error"]) == ["message", "type", "param", "code"]


@pytest.mark.parametrize("path", ["/V1/completions", "/v1/v1/completions", "/v1/completion", "/v2/completions", "/v1"])
def test_a_path_that_only_looks_like_one_of_them_does_not_exist(client: httpx.Client, path: str) -> None:
    assert client.post(path, json={}).status_code == 404


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/v1/models/", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("/models", "/v1/models"),
        ("/models/demo/", "/v1/models/demo"),
        ("/files", "/v1/files"),
        ("/batches/", "/v1/batches"),
        ("/health/live/", "/health/live"),
        ("//version//", "/version"),
    ],
)
def test_slashes_and_a_base_url_without_v1_make_no_other_path(locked: httpx.Client, path: str, same: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    asked = locked.get(str(locked.base_url).rstrip("/") + path, headers=headers)
    assert (asked.status_code, asked.text) == (200, locked.get(same, headers=headers).text)


def test_a_page_with_a_slash_behind_its_name_is_where_its_links_lead(client: httpx.Client) -> None:
    moved = client.get("/docs/")
    assert (moved.status_code, moved.headers["location"]) == (307, "../docs")
    assert client.get("/docs/", follow_redirects=True).url.path == "/docs"
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "//v1/chat/completions", "/chat/completions", "/messages"])
def test_generating_paths_may_be_spelled_so_too(client: httpx.Client, path: str) -> None:
    answered = client.post(str(client.base_url).rstrip("/") + path, json={"messages": 1})
    assert (answered.status_code, "/messages" in path) == (400, "type" in answered.json())


@pytest.mark.parametrize(
    "path", ["//v1/models/demo/load", "/models/demo//load/", "/models/demo/unload", "/admin//status"]
)
def test_no_spelling_opens_what_is_the_operators(locked: httpx.Client, path: str) -> None:
    asked = locked.post(str(locked.base_url).rstrip("/") + path, headers={"authorization": f"Bearer {KEY}"})
    assert asked.status_code == 401


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\n", "\t", f"{KEY}\x00{KEY}", "schlüssel"])
def test_a_key_that_no_client_can_send_is_rejected_by_its_variable_and_not_shown(key: str) -> None:
    with pytest.raises(LaunchError, match=r"^CONCH_API_KEY .* printable ASCII") as rejected:
        load_settings({}, {API_KEY_VARIABLE: key})
    assert KEY not in str(rejected.value)


def test_settings_are_checked_whole_and_the_key_comes_from_the_environment() -> None:
    settings = load_settings({"port": "8080"}, {API_KEY_VARIABLE: KEY})
    assert settings.port == 8080
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY
    assert KEY not in repr(settings)
    assert load_settings({}, {API_KEY_VARIABLE: ""}).api_key is None
    with pytest.raises(LaunchError, match=r"gateway setting port = '99999': .* 65535"):
        load_settings({"port": "99999"}, {})
    with pytest.raises(LaunchError, match="prot"):
        load_settings({"prot": 1}, {})


def test_settings_that_contradict_each_other_are_rejected_with_both_values() -> None:
    with pytest.raises(LaunchError, match=r"^gateway setting max_waiting_bytes = 33554432; must be .* = 67108864$"):
        load_settings({"max_body_bytes": 64 * 2**20}, {})


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="::", port=0, workers=3, access_log=False, request_timeout_s=0, keep_alive_timeout_s=1.5),
        Settings(cors_origins=("http://a.example", "*"), triton_grpc=("[::1]:8001", "dns:triton:8001")),
    ],
)
def test_settings_can_be_passed_on_as_flags(settings: Settings) -> None:
    assert load_settings(flag_values(to_flags(settings)), {}) == settings


def test_the_flags_of_settings_hold_no_key() -> None:
    settings = load_settings({"port": 1}, {API_KEY_VARIABLE: KEY})
    assert to_flags(settings) == ("--port", "1")
