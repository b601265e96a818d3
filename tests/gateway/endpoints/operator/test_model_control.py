"""Engines are loaded and unloaded by who has the admin key, and every answer says what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.orders import orders_taken
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.health.engine_states import EngineStates, write_states
from triton_repo.contract.health.model_orders import Order, Outcome

KEY = {"authorization": "Bearer sk-operator"}
OUTCOMES = {
    "demo": Outcome(),
    "demo@2": Outcome(),
    "broken": Outcome(failure="no such file: model.bin"),
    "french": Outcome(),
    "bad": Outcome(failure="path = 'a': its rank is 70", allowed=False),
    "full": Outcome(failure="the engine has room for no more", fits=False),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, all_taken: list[Order]) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("run")
    states = directory / "engine-states"
    write_states(states, EngineStates(absent={"demo@2": "unloaded"}))

    async def carry_out(order: Order) -> Outcome:
        all_taken.append(order)
        return OUTCOMES.get(order.adapter or order.engine, Outcome(known=False, failure="there is no such engine"))

    with (
        orders_taken(directory / "orders", carry_out),
        serving(
            ScriptedBackend(),
            admin_key="sk-operator",
            api_key="sk-client",
            shutdown_grace_s=7,
            engine_states_file=states,
            orders_socket=directory / "orders",
        ) as gateway,
        httpx.Client(base_url=gateway.url, headers=KEY, timeout=120) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("demo/load", Order("load", "demo", 7.0)),
        ("demo@1/load", Order("load", "demo", 7.0)),
        ("demo@2/load", Order("load", "demo@2", 7.0)),
        ("demo/unload", Order("unload", "demo", 7.0)),
        ("demo%402/unload?grace_s=0.5", Order("unload", "demo@2", 0.5)),
        ("demo:french/unload?grace_s=0.5", Order("unload", "demo", 0.5, "french")),
        ("demo@2:french/unload", Order("unload", "demo@2", 7.0, "french")),
    ],
)
def test_an_order_names_the_engine_and_its_grace(
    client: httpx.Client, taken: list[Order], path: str, order: Order
) -> None:
    answer = client.post(f"/v1/models/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == (f"{order.engine}:{order.adapter}" if order.adapter else order.engine)
    assert taken == [order]


def test_the_state_is_the_one_that_conch_serve_tells(client: httpx.Client) -> None:
    states = {one["id"]: one["state"] for one in client.get("/admin/models").json()["data"]}
    assert states == {"demo": "loaded", "demo@2": "unloaded"}


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_an_order_that_fails_says_why(client: httpx.Client, verb: str) -> None:
    answer = client.post(f"/v1/models/broken/{verb}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_load_failed")
    assert answer.json()["error"]["message"] == f"model 'broken': {verb} failed: no such file: model.bin"


@pytest.mark.parametrize("name", ["none", "demo@9", "a/b", "demo@0"])
def test_what_is_no_engine_is_not_found(client: httpx.Client, taken: list[Order], name: str) -> None:
    answer = client.post(f"/v1/models/{name}/load")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "demo" not in {order.engine for order in taken}


def test_an_order_for_an_adapter_names_its_directory(client: httpx.Client, taken: list[Order]) -> None:
    answer = client.post("/v1/models/demo:french/load", json={"path": "french/v2"})
    assert answer.json() == {"id": "demo:french", "object": "model", "state": "loaded"}
    assert taken == [Order("load", "demo", 7.0, "french", "french/v2")]


@pytest.mark.parametrize(
    ("name", "body", "complaint"),
    [
        ("demo:french", None, "path: must be the directory of the adapter"),
        ("demo", {"path": "french"}, "path: only an adapter, NAME:ADAPTER, is loaded from a directory"),
        ("demo:french", {"path": ""}, "path: String should have at least 1 character"),
        ("demo:french", {"path": 7}, "path: Input should be a valid string"),
        ("demo:french", {"directory": "french"}, "path: Field required"),
        ("demo:french", {"path": "french", "rank": 7}, "rank: Extra inputs are not permitted"),
    ],
)
def test_a_body_that_names_no_directory_is_rejected(
    client: httpx.Client, taken: list[Order], name: str, body: object, complaint: str
) -> None:
    answer = client.post(f"/v1/models/{name}/load", json=body)
    assert (answer.status_code, taken) == (400, [])
    assert complaint in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("adapter", "status", "code"),
    [("bad", 400, None), ("full", 409, "model_does_not_fit"), ("none", 404, "model_not_found")],
)
def test_what_becomes_of_an_adapter_is_told_with_its_reason(
    client: httpx.Client, adapter: str, status: int, code: str | None
) -> None:
    answer = client.post(f"/v1/models/demo:{adapter}/load", json={"path": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"].startswith(f"model 'demo:{adapter}': ")


@pytest.mark.parametrize("grace", ["-1", "nan", "inf", "86401", "soon"])
def test_a_grace_that_is_no_time_is_rejected(client: httpx.Client, taken: list[Order], grace: str) -> None:
    answer = client.post("/v1/models/demo/unload", params={"grace_s": grace})
    assert (answer.status_code, taken) == (400, [])
    assert "grace_s" in answer.json()["error"]["message"]


@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer sk-client"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/demo/load"),
        ("POST", "/v1/models/demo/unload%0A"),
        ("POST", "/v1/models/%0A/unload%0A"),
        ("POST", "/v1/models//demo//load"),
        ("GET", "/admin/models"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/load_lora_adapter%0A"),
        ("POST", "/v1//unload_lora_adapter/"),
    ],
)
def test_only_the_admin_key_opens_them(
    client: httpx.Client, taken: list[Order], headers: dict[str, str], method: str, path: str
) -> None:
    assert client.request(method, path, headers=headers).status_code == 401
    assert taken == []


def test_without_conch_serve_an_order_is_rejected_with_the_reason(tmp_path: Path) -> None:
    with serving(ScriptedBackend(), admin_key="sk-operator", orders_socket=tmp_path / "gone") as gateway:
        answer = httpx.post(f"{gateway.url}/v1/models/demo/load", headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_control_unavailable")
    assert "--model-control explicit" in answer.json()["error"]["message"]


def test_an_order_that_conch_serve_does_not_answer_may_be_given_again(tmp_path: Path) -> None:
    async def carry_out(_: Order) -> Outcome:
        raise OSError

    socket = tmp_path / "orders"
    with (
        orders_taken(socket, carry_out),
        serving(ScriptedBackend(), admin_key="sk-operator", orders_socket=socket) as gateway,
    ):
        answer = httpx.post(f"{gateway.url}/v1/models/demo/load", headers=KEY)
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "conch serve does not answer"
