"""What a model says that it can do is what its validation does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.dialects.openai.parameters import rejected_parameters
from gateway.endpoints.routes import OPERATIONS
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.capabilities.runtimes import capabilities_of
from triton_repo.contract.sampling import Sampling

# The cards of the engines that there are, as their builds write them.
_OPENVINO = capabilities_of("openvino")
CARDS = {
    "openvino": replace(
        CARD,
        runtime="openvino",
        unsupported=_OPENVINO.unsupported(None, None, lora=False, logprobs=True),
        max_logprobs=_OPENVINO.max_logprobs,
    ),
    "everything": replace(CARD, max_logprobs=20, tool_parser="hermes"),
    "little": replace(CARD, unsupported=tuple(name for name in Sampling.model_fields if name != "max_tokens")),
}
BASE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9},
}
# A value of each that asks for something.
ASKS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "min_p": 0.5,
    "seed": 1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "repetition_penalty": 1.5,
    "min_tokens": 2,
    "ignore_eos": True,
    "stop_token_ids": [5],
    "lora_name": "a",
    "priority": 0.25,
    "cache_salt": "a",
    "response_format": {"type": "json_object"},
    "guided_regex": "a+",
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stop": ["x"],
    "stop_sequences": ["x"],
    "n": 2,
    "user": "a",
    "tools": None,  # by API, below
}
OPENAI_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    backend = ScriptedBackend([delta("{}", "stop")], cards=CARDS)  # which every form allows
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def described(client: httpx.Client, model: str) -> Any:
    response = client.get(f"/v1/models/{model}/capabilities")
    assert response.status_code == 200, response.text
    return response.json()


def ask(client: httpx.Client, path: str, model: str, **fields: Any) -> httpx.Response:
    return client.post(path, json={**BASE[path], "model": model, **fields})


@pytest.mark.parametrize("path", BASE)
@pytest.mark.parametrize("model", CARDS)
def test_what_is_rejected_is_rejected_and_what_is_honoured_passes(client: httpx.Client, path: str, model: str) -> None:
    parameters = described(client, model)["endpoints"][path]
    asks = {**ASKS, "tools": [{"name": "f", "input_schema": {}} if "messages" in path else OPENAI_TOOL]}
    for name, value in asks.items():
        if name in parameters:
            response = ask(client, path, model, **{name: value})
            rejected = parameters[name]["status"] == "rejected"
            assert response.status_code == (400 if rejected else 200), (name, response.text)
            for harmless in parameters[name]["accepts"]:
                assert ask(client, path, model, **{name: harmless}).status_code == 200, (name, harmless)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_what_no_engine_does_is_listed_with_the_values_that_pass(client: httpx.Client, path: str) -> None:
    parameters = described(client, "everything")["endpoints"][path]
    for name, (reason, accepts) in rejected_parameters(OPERATIONS[path].body).items():
        if name not in OPERATIONS[path].body.model_fields:
            assert parameters[name] == {
                "status": "rejected",
                "reason": reason,
                "bounds": {},
                "accepts": list(accepts),
            }
            asks = {"truncate_prompt_tokens": 1, name: {"asks": "for something"}}  # of a prompt that is truncated
            refused = ask(client, path, "everything", **asks)
            assert (refused.status_code, refused.json()["error"]["message"]) == (400, f"{name}: {reason}")
            for value in accepts:
                assert ask(client, path, "everything", **{name: value}).status_code == 200


def test_bounds_are_those_of_the_body_and_of_the_model(client: httpx.Client) -> None:
    chat = described(client, "everything")["endpoints"]["/v1/chat/completions"]
    assert chat["temperature"] == {
        "status": "bounded",
        "reason": None,
        "bounds": {"minimum": 0, "maximum": 2},
        "accepts": [],
    }
    assert chat["max_tokens"]["bounds"]["maximum"] == CARD.max_seq_len - 1
    assert chat["top_logprobs"]["bounds"] == {"minimum": 0, "maximum": 20}
    assert ask(client, "/v1/chat/completions", "everything", temperature=2.1).status_code == 400
    openvino = described(client, "openvino")["endpoints"]["/v1/chat/completions"]
    assert openvino["top_logprobs"]["bounds"]["maximum"] == 0


def test_every_field_of_every_body_is_there(client: httpx.Client) -> None:
    endpoints = described(client, "openvino")["endpoints"]
    assert set(endpoints) == set(OPERATIONS)
    for path, operation in OPERATIONS.items():
        assert set(operation.body.model_json_schema()["properties"]) <= set(endpoints[path])


def test_a_model_that_is_not_there_has_no_capabilities(client: httpx.Client) -> None:
    assert client.get("/v1/models/other/capabilities").status_code == 404
