"""Which model a body means that names none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.bodies import HELLO, refusal
from tests.gateway.dialects.openai.test_encodings import CARDS, Encoder
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving

CHAT = "/v1/chat/completions"
BODIES: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": [HELLO]}),
    (CHAT + "/render", {"messages": [HELLO]}),
    ("/v1/completions", {"prompt": "Hello"}),
    ("/v1/responses", {"input": "Hello"}),
    ("/v1/responses/input_tokens", {"input": "Hello"}),
    ("/v1/messages", {"messages": [HELLO], "max_tokens": 5}),
    ("/v1/messages/count_tokens", {"messages": [HELLO]}),
    ("/tokenize", {"prompt": "Hello"}),
]


@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_body_without_a_model_is_for_the_only_one(path: str, body: dict[str, Any]) -> None:
    with serving(ScriptedBackend()) as gateway:
        answers = [httpx.post(gateway.url + path, json=body | model) for model in ({}, {"model": None}, {"model": ""})]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert all(answer.json().get("model", "demo") == "demo" for answer in answers)


def test_an_only_encoder_needs_no_name_either() -> None:
    with serving(Encoder(cards={"embed": CARDS["embed"]})) as gateway:
        answer = httpx.post(gateway.url + "/v1/embeddings", json={"input": "Hello"}).json()
    assert (answer["model"], len(answer["data"])) == ("embed", 1)


def test_of_several_models_it_is_the_first_and_else_a_name_is_required() -> None:
    body = {"messages": [HELLO]}
    cards = dict.fromkeys(["a", "b"], CARD)
    with serving(ScriptedBackend(cards=cards), first_model="b") as gateway:
        assert httpx.post(gateway.url + CHAT, json=body).json()["model"] == "b"
    for first in ("", "gone"):
        with serving(ScriptedBackend(cards=cards), first_model=first) as gateway:
            error = refusal(httpx.post(gateway.url + CHAT, json=body))
        assert (error["param"], error["message"].startswith("model: a name is required")) == ("model", True)


def test_two_versions_of_a_model_are_one_model() -> None:
    with serving(ScriptedBackend(cards=dict.fromkeys(["demo", "demo@2"], CARD))) as gateway:
        assert httpx.post(gateway.url + CHAT, json={"messages": [HELLO]}).json()["model"] == "demo"


@pytest.mark.parametrize("name", ["a", "a@2", "alias"])
def test_a_key_that_may_use_one_model_means_that_one(tmp_path: Path, name: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {hashlib.sha256(b'sk-a').hexdigest()} models={name}\n", encoding="utf-8")
    backend = ScriptedBackend(cards=dict.fromkeys(["a", "a@2", "b"], CARD))
    with serving(backend, first_model="b", api_keys_file=keys, alias=("alias=a",)) as gateway:
        headers = {"authorization": "Bearer sk-a"}
        answer = httpx.post(gateway.url + CHAT, json={"messages": [HELLO]}, headers=headers).json()
    assert answer["model"] == name
