"""vLLM's orders for adapters are those of Conch in other words; each engine's cards have what was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.triton.adapted_cards import AdaptedCards
from tests.gateway.orders import orders_taken
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.health.model_orders import Order, Outcome

LOADED = (
    "The lora adapter 'demo:french' has already been loaded. "
    "If you want to load the adapter in place, set 'load_inplace' to True."
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, all_taken: list[Order]) -> Iterator[httpx.Client]:
    """Of a server whose engine has the adapter `french`."""
    socket = tmp_path_factory.mktemp("run") / "orders"

    async def carry_out(order: Order) -> Outcome:
        all_taken.append(order)
        return Outcome(known=order.adapter != "gone")

    backend, key = ScriptedBackend(cards={"demo": replace(CARD, adapters=("french",))}), "sk-operator"
    with (
        orders_taken(socket, carry_out),
        serving(backend, admin_key=key, shutdown_grace_s=7, orders_socket=socket) as gateway,
        httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=120) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("verb", "body", "order", "done"),
    [
        (
            "load",
            {"lora_name": "demo:german", "lora_path": "german"},
            Order("load", "demo", 7.0, "german", "german"),
            "added",
        ),
        (
            "load",
            {"lora_name": "demo:french", "lora_path": "new", "load_inplace": True},
            Order("load", "demo", 7.0, "french", "new"),
            "added",
        ),
        (
            "unload",
            {"lora_name": "demo:french", "lora_int_id": 1},
            Order("unload", "demo", 7.0, "french"),
            "removed",
        ),
    ],
)
def test_an_order_in_vllms_words_is_answered_in_them(  # noqa: PLR0917 - of one row
    client: httpx.Client, taken: list[Order], verb: str, body: dict[str, Any], order: Order, done: str
) -> None:
    answer = client.post(f"/v1/{verb}_lora_adapter", json=body)
    assert answer.text == f"Success: LoRA adapter '{body['lora_name']}' {done} successfully."
    assert (answer.status_code, taken) == (200, [order])


@pytest.mark.parametrize(
    ("verb", "body", "status", "complaint"),
    [
        ("load", {"lora_name": "demo:french", "lora_path": "new"}, 400, LOADED),
        ("load", {"lora_name": "french", "lora_path": "new"}, 400, "lora_name = 'french': must be NAME:ADAPTER"),
        ("load", {"lora_name": "demo:german"}, 400, "lora_path: Field required"),
        ("load", {"lora_name": "", "lora_path": "a"}, 400, "lora_name: String should have at least 1 character"),
        ("load", {"lora_name": "demo:a", "lora_path": "a", "is_3d_lora_weight": True}, 400, "is_3d_lora_weight: Extra"),
        ("unload", {"lora_name": "demo:gone"}, 404, "model 'demo:gone': conch serve has no such adapter"),
        ("unload", {}, 400, "lora_name: Field required"),
    ],
)
def test_what_cannot_be_done_is_rejected_by_its_name(  # noqa: PLR0917 - of one row
    client: httpx.Client, taken: list[Order], verb: str, body: dict[str, Any], status: int, complaint: str
) -> None:
    answer = client.post(f"/v1/{verb}_lora_adapter", json=body)
    assert answer.status_code == status
    assert complaint in answer.json()["error"]["message"]
    assert len(taken) == (status == 404)


def test_a_card_has_the_adapters_that_were_loaded_and_is_made_once() -> None:
    cards, adapters = {"demo": replace(CARD, adapters=("built",)), "other": CARD}, {"demo": ["a", "b"], "gone": ["c"]}
    adapted = AdaptedCards()
    made = adapted.cards(cards, adapters)
    assert (made["demo"].adapters, made["other"], set(made)) == (("built", "a", "b"), CARD, {"demo", "other"})
    assert adapted.cards(cards, adapters) is made
    assert adapted.cards(cards, {})["demo"].adapters == ("built",)
