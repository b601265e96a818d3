"""`return_token_ids` and `prompt_logprobs`, as vLLM has them: no token is lost, however an answer is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.answers.backend import Delta
from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving
from triton_repo.contract.model_card import ReasoningCard
from triton_repo.contract.tensors import FinishReason

PROMPT = [11, 12, 13]
LOGPROBS = [None, {"12": {"logprob": -0.5, "rank": 1, "decoded_token": " x"}}, {}]
CARDS = {
    "demo": replace(CARD, max_logprobs=5, max_prompt_logprobs=5),
    "agent": replace(CARD, tool_parser="hermes", reasoning=ReasoningCard("qwen3")),
}
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
Json = dict[str, Any]


def delta(tokens: Sequence[str], first_id: int, reason: FinishReason = "", *, logprobs: bool = False) -> Delta:
    """A delta whose tokens have ids that count up; the first one of all tells of the prompt."""
    top = {"logprob": -1.0, "bytes": [], "top_logprobs": []}
    listed = [
        ({"token": token, **top} if logprobs else {}) | {"token_id": first_id + at, "text_length": len(token)}
        for at, token in enumerate(tokens)
    ]
    prompt = json.dumps({"token_ids": PROMPT, "logprobs": LOGPROBS}) if first_id == 1 else ""
    return Delta("".join(tokens), reason, 3, -1, first_id + len(tokens) - 1, json.dumps(listed), prompt)


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend(cards=CARDS)


@pytest.fixture(scope="module")
def client(backend: ScriptedBackend) -> Iterator[httpx.Client]:
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url, timeout=120) as client:
        yield client


def ask(client: httpx.Client, path: str, **fields: Any) -> list[Json]:
    """The bodies: one, or all chunks of a stream."""
    prompt = {"prompt": "Hello"} if path == COMPLETIONS else {"messages": [HELLO]}
    response = client.post(path, json={"model": "demo", **prompt, **fields})
    assert response.status_code == 200, response.text
    if not fields.get("stream"):
        return [response.json()]
    return [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]


def ids_of(bodies: Sequence[Json], index: int = 0) -> list[int]:
    return [id for body in bodies for it in body["choices"] if it["index"] == index for id in it["token_ids"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_tells_the_ids_of_its_prompt_once_and_of_all_its_tokens(
    client: httpx.Client, backend: ScriptedBackend, stream: bool
) -> None:
    backend.script = [delta(["a"], 1), delta(["b", "c", ""], 2, "stop")]
    bodies = ask(client, CHAT, return_token_ids=True, stream=stream, n=2)
    assert [body.get("prompt_token_ids") for body in bodies] == [PROMPT] + [None] * (len(bodies) - 1)
    assert ids_of(bodies, 0) == ids_of(bodies, 1) == [1, 2, 3, 4]
    assert all(generation.token_ids for generation in backend.generations[-2:])
    assert {str(choice["logprobs"]) for body in bodies for choice in body["choices"]} == {"None"}


@pytest.mark.parametrize("stream", [False, True])
def test_each_choice_of_a_completion_tells_the_ids_of_its_prompt(
    client: httpx.Client, backend: ScriptedBackend, stream: bool
) -> None:
    backend.script = [delta(["a"], 1), delta(["b"], 2, "stop")]
    bodies = ask(client, COMPLETIONS, prompt=["x", "y"], return_token_ids=True, stream=stream)
    of_prompts = [it["prompt_token_ids"] for body in bodies for it in body["choices"] if "prompt_token_ids" in it]
    assert of_prompts == [PROMPT, PROMPT]
    assert "prompt_token_ids" not in bodies[0]
    assert ids_of(bodies, 0) == ids_of(bodies, 1) == [1, 2]


def test_an_answer_that_does_not_ask_has_none(client: httpx.Client, backend: ScriptedBackend) -> None:
    backend.script = [delta(["a"], 1, "stop")]
    for path in (CHAT, COMPLETIONS):
        for body in ask(client, path, stream=True):
            assert "token_ids" not in body["choices"][0]
            assert "prompt_token_ids" not in {**body, **body["choices"][0]}
        assert not backend.generations[-1].token_ids


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_reasoning_and_calls_lose_no_id(
    client: httpx.Client, backend: ScriptedBackend, stream: bool, size: int
) -> None:
    tokens = ["<think>", "We", "ll", "</think>", "Hi ", *CALL[:20], CALL[20:], ""]
    parts = [(at, tokens[at : at + size]) for at in range(0, len(tokens), size)]
    backend.script = [
        delta(part, at + 1, "stop" if at + len(part) == len(tokens) else "")._replace(completion_tokens=at + len(part))
        for at, part in parts
    ]
    fields = {"model": "agent", "tools": [TOOL], "stream": stream, "return_token_ids": True}
    for more in ({}, {"include_reasoning": False}):
        bodies = ask(client, CHAT, **fields, **more)
        assert ids_of(bodies) == [*range(1, len(tokens) + 1)]
    assert bodies[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stop_string_ends_the_ids_with_the_token_that_completes_it(
    client: httpx.Client, backend: ScriptedBackend
) -> None:
    backend.script = [delta(["one", " tw", "o th", "ree", " four"], 1, "length")]
    for stream in (False, True):
        bodies = ask(client, CHAT, return_token_ids=True, stop=["two"], stream=stream)
        assert ids_of(bodies) == [1, 2, 3]


def test_with_an_echo_the_ids_are_those_of_the_answer(client: httpx.Client, backend: ScriptedBackend) -> None:
    backend.script = [delta(["p", "q", "r", "a"], 1), delta(["b"], 5, "stop")]
    for stream in (False, True):
        assert ids_of(ask(client, COMPLETIONS, return_token_ids=True, echo=True, stream=stream)) == [4, 5]


def test_beside_logprobs_there_are_as_many_ids_as_tokens(client: httpx.Client, backend: ScriptedBackend) -> None:
    backend.script = [delta(["a"], 1, logprobs=True), delta(["b", ""], 2, "stop", logprobs=True)]
    [body] = ask(client, CHAT, return_token_ids=True, logprobs=True)
    assert [token["token"] for token in body["choices"][0]["logprobs"]["content"]] == ["a", "b", ""]
    assert ids_of([body]) == [1, 2, 3]


def test_a_token_whose_logprob_the_engine_does_not_know_has_its_id_alone(
    client: httpx.Client, backend: ScriptedBackend
) -> None:
    backend.script = [delta(["a"], 1, logprobs=True), delta([""], 2, "stop")]
    [chat] = ask(client, CHAT, return_token_ids=True, logprobs=True)
    assert [token["token"] for token in chat["choices"][0]["logprobs"]["content"]] == ["a"]
    [completion] = ask(client, COMPLETIONS, return_token_ids=True, logprobs=1)
    assert completion["choices"][0]["logprobs"]["tokens"] == ["a"]
    assert ids_of([chat]) == ids_of([completion]) == [1, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_the_logprobs_of_a_prompt_are_told_as_vllm_does(
    client: httpx.Client, backend: ScriptedBackend, stream: bool
) -> None:
    backend.script = [delta(["a"], 1, "stop")]
    bodies = ask(client, CHAT, prompt_logprobs=1, stream=stream, n=2)
    assert bodies[0]["prompt_logprobs"] == LOGPROBS
    assert [generation.sampling.prompt_logprobs for generation in backend.generations[-2:]] == [1, None]
    choice = ask(client, COMPLETIONS, prompt_logprobs=1.0, stream=stream)[0]["choices"][0]
    assert choice["prompt_logprobs"] == LOGPROBS
    assert "token_ids" not in choice


def test_all_choices_of_a_prompt_have_the_logprobs_that_the_first_was_asked_for(
    client: httpx.Client, backend: ScriptedBackend
) -> None:
    backend.script = [delta(["a"], 1, "stop")]
    [body] = ask(client, COMPLETIONS, prompt_logprobs=0, n=2, prompt=["x", "y"])
    assert [choice["prompt_logprobs"] for choice in body["choices"]] == [LOGPROBS] * 4
    asked = [generation.sampling.prompt_logprobs for generation in backend.generations[-4:]]
    assert asked == [0, None, 0, None]


@pytest.mark.parametrize(
    ("value", "model", "message"),
    [
        (-1, "demo", "greater than or equal to 0"),
        (21, "demo", "less than or equal to 20"),
        (6, "demo", "prompt_logprobs: this engine has at most 5 alternatives"),
        (0, "agent", "prompt_logprobs: this engine has no logprobs of prompts"),
    ],
)
def test_logprobs_of_a_prompt_that_a_model_does_not_have_are_rejected_by_name(
    client: httpx.Client, value: int, model: str, message: str
) -> None:
    body = {"model": model, "messages": [HELLO], "prompt_logprobs": value}
    error = refusal(client.post(CHAT, json=body))
    assert error["param"] == "prompt_logprobs"
    assert message in error["message"]


def test_a_model_says_whether_it_has_them(client: httpx.Client) -> None:
    for model, status in (("demo", "bounded"), ("agent", "rejected")):
        of_paths = client.get(f"/v1/models/{model}/capabilities").json()["endpoints"]
        for path in (CHAT, COMPLETIONS):
            assert of_paths[path]["prompt_logprobs"]["status"] == status
            assert of_paths[path]["return_token_ids"]["status"] == "honoured"
    assert client.get("/v1/models/demo/capabilities").json()["endpoints"][CHAT]["prompt_logprobs"]["bounds"] == {
        "minimum": 0,
        "maximum": 5,
    }
