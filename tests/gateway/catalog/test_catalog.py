"""Names of models as clients see them: lists, answers, errors and keys, over a real gateway."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.gateway.bodies import HELLO, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.model_card import EncoderCard

NEW = replace(CARD, adapters=("fr",), max_seq_len=1024)
ENCODER = replace(CARD, encoder=EncoderCard("embed", 2))
CARDS = {"demo": CARD, "demo@2": NEW, "minilm": ENCODER, "other": CARD}
RULES = '[aliases]\nchat = { "demo@1" = 50, "demo@2" = 50 }\nembeddings = "minilm"\n'
KEYS = {"all": "key-of-all-models", "few": "key-of-few-models", "second": "key-of-second-version"}
MODELS = {"all": "", "few": "models=gpt-4o-mini,other", "second": "models=demo@2"}


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend(cards=CARDS)


@pytest.fixture(scope="module")
def gateway(backend: ScriptedBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("catalog")
    (directory / "catalog.toml").write_text(RULES, encoding="utf-8")
    lines = [f"{name} {hashlib.sha256(key.encode()).hexdigest()} {MODELS[name]}" for name, key in KEYS.items()]
    (directory / "keys").write_text("\n".join(lines), encoding="utf-8")
    with serving(
        backend,
        alias=("gpt-4o-mini=demo",),
        catalog=directory / "catalog.toml",
        api_keys_file=directory / "keys",
    ) as running:
        yield running


@pytest.fixture
def client(gateway: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS["all"], max_retries=0) as one:
        yield one


def http(gateway: Running, key: str = "all") -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {KEYS[key]}"})


def test_names_versions_adapters_and_aliases_are_listed(client: openai.OpenAI) -> None:
    models = {model.id: model.model_extra or {} for model in client.models.list()}
    assert {name: (one["root"], one["parent"]) for name, one in models.items()} == {
        "demo": ("demo@2", None),
        "demo@1": ("demo", None),
        "demo@2": ("demo@2", None),
        "demo:fr": ("fr", "demo"),
        "minilm": ("minilm", None),
        "other": ("other", None),
        "chat": (models["chat"]["root"], None),
        "embeddings": ("minilm", None),
        "gpt-4o-mini": ("demo@2", None),
    }
    assert models["gpt-4o-mini"]["max_model_len"] == 1024
    assert (client.models.retrieve("demo@1").model_extra or {})["max_model_len"] == 512


@pytest.mark.parametrize(
    ("requested", "engine", "adapter"),
    [("demo", "demo@2", None), ("demo@1", "demo", None), ("gpt-4o-mini", "demo@2", None), ("demo:fr", "demo@2", "fr")],
)
def test_every_dialect_answers_with_the_name_that_was_asked_for(
    gateway: Running, backend: ScriptedBackend, requested: str, engine: str, adapter: str | None
) -> None:
    backend.generations.clear()
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [HELLO]},
        "/v1/completions": {"prompt": "Hello"},
        "/v1/responses": {"input": "Hello"},
        "/v1/messages": {"messages": [HELLO], "max_tokens": 9},
    }
    with http(gateway) as client:
        for path, body in bodies.items():
            answer = client.post(path, json={"model": requested, **body})
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == requested
        rendered = client.post("/v1/chat/completions/render", json={"model": requested, "messages": [HELLO]})
        assert rendered.json()["model"] == requested
        assert client.post("/v1/responses/input_tokens", json={"model": requested, "input": "x"}).status_code == 200
        assert client.post("/tokenize", json={"model": requested, "prompt": "x"}).json()["count"] == 1
    asked = [(one.model, one.sampling.lora_name) for one in backend.generations]
    assert asked == [(engine, adapter)] * len(bodies)


def test_streams_and_embeddings_say_it_too(gateway: Running, client: openai.OpenAI, backend: ScriptedBackend) -> None:
    chunks = [*client.completions.create(model="gpt-4o-mini", prompt="Hello", stream=True)]
    assert {chunk.model for chunk in chunks} == {"gpt-4o-mini"}
    assert client.embeddings.create(model="embeddings", input="x").model == "embeddings"
    assert backend.encoded[-1].model == "minilm"


def test_a_user_keeps_an_arm_and_its_requests_count_as_those_of_its_engine(
    client: openai.OpenAI, backend: ScriptedBackend, gateway: Running
) -> None:
    engines: dict[str, set[str]] = {}
    for user in [f"user-{number}" for number in range(12)] * 2:
        backend.generations.clear()
        client.completions.create(model="chat", prompt="Hello", user=user)
        engines.setdefault(user, set()).add(backend.generations[0].model)
    assert {len(each) for each in engines.values()} == {1}
    assert set().union(*engines.values()) == {"demo", "demo@2"}
    assert 'model="demo@2"' in httpx.get(f"{gateway.url}/metrics").text


def test_anthropics_client_names_its_user_in_the_metadata(gateway: Running, backend: ScriptedBackend) -> None:
    backend.generations.clear()
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEYS["all"], max_retries=0) as client:
        for _ in range(4):
            client.messages.create(
                model="chat", messages=[{"role": "user", "content": "Hi"}], max_tokens=9, metadata={"user_id": "me"}
            )
    assert len({one.model for one in backend.generations}) == 1


@pytest.mark.parametrize(
    "name", ["demo@3", "demo:de", "nothing", "gpt-4o-mini@3", "gpt-4o-mini:de", "other:fr", "a@b@c"]
)
def test_a_name_without_an_engine_is_not_found_under_the_name_that_was_asked_for(gateway: Running, name: str) -> None:
    with http(gateway) as client:
        error = refusal(client.post("/v1/completions", json={"model": name, "prompt": "x"}), 404)
    assert error["code"] == "model_not_found"
    assert repr(name) in error["message"]


def test_two_adapters_are_too_many(gateway: Running) -> None:
    with http(gateway) as client:
        body = {"model": "demo:fr", "prompt": "x", "lora_name": "de"}
        error = refusal(client.post("/v1/completions", json=body), 400)
        assert error["param"] == "lora_name"
        assert client.post("/v1/completions", json={**body, "lora_name": "fr"}).status_code == 200


def test_a_key_may_use_models_by_any_name_that_it_lists(gateway: Running) -> None:
    allowed = {"few": {"gpt-4o-mini", "other"}, "second": {"demo", "demo@2", "gpt-4o-mini", "demo:fr"}}
    for key, names in allowed.items():
        with http(gateway, key) as client:
            listed = {model["id"] for model in client.get("/v1/models").json()["data"]}
            assert listed - {"chat"} == names
            for name in ("demo", "demo@1", "demo@2", "gpt-4o-mini", "other"):
                status = client.post("/v1/completions", json={"model": name, "prompt": "x"}).status_code
                assert status == (200 if name in names else 404), (key, name)
