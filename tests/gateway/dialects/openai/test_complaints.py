"""What users of other OpenAI servers have complained about does not happen here. Each test names the public thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat, completion, post, refusal
from tests.gateway.scripted_backend import ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed

BACKEND = ScriptedBackend()
BROKEN = ScriptedBackend([delta("Hel"), EngineFailed("the engine failed")])
CUT = ScriptedBackend([delta("Hello", "length")])


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def streamed(client: httpx.Client, path: str, body: bytes) -> list[dict[str, Any]]:
    response = post(client, path, body)
    assert response.status_code == 200, response.text
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize(
    "fields",
    [
        {"store": False, "metadata": {"a": "b"}, "service_tier": "auto"},  # TensorRT-LLM 9709, livekit/agents 1276
        {"stream_options": None, "parallel_tool_calls": None, "user": None},  # CherryStudio 12450
        {"enable_thinking": True, "provider": {"order": ["x"]}, "transforms": []},  # server 8444, garak 748
        {"prompt_cache_key": "k", "safety_identifier": "s", "verbosity": "medium"},  # newer fields of OpenAI's clients
        {"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 1},  # openai_trtllm 45, tensorrtllm_backend 436
        {"n": 1, "best_of": 1, "logit_bias": None, "logprobs": None},  # vLLM 5797, 6890: defaults sent along
        {"max_tokens": 100.0, "temperature": 0, "top_p": 1},  # LiteLLM and Go clients: integers as floats
    ],
)
def test_fields_that_clients_send_along_are_no_error(client: httpx.Client, fields: dict[str, Any]) -> None:
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        assert post(client, path, body(**fields)).status_code == 200


def test_the_developer_role_is_taken(client: httpx.Client) -> None:
    """llama.cpp PR 20215, SGLang 40082, ogx 6069."""
    messages = [{"role": "developer", "content": "Be brief."}, HELLO]
    assert post(client, CHAT, chat(messages=messages)).status_code == 200


def test_an_answer_that_was_cut_says_so() -> None:
    """server 7796, TGI 2466: finish_reason "stop" whatever happened, and 16 tokens unless more are asked for."""
    with serving(CUT) as gateway, httpx.Client(base_url=gateway.url) as client:
        assert post(client, CHAT, chat()).json()["choices"][0]["finish_reason"] == "length"
        assert streamed(client, CHAT, chat(stream=True))[-1]["choices"][0]["finish_reason"] == "length"
        assert CUT.generations[-1].sampling.max_tokens is None


def test_usage_comes_in_a_chunk_of_its_own_if_it_was_asked_for_and_only_then(client: httpx.Client) -> None:
    """TGI PR 3003, llama.cpp PR 15444, opencode 42918."""
    *_, last = streamed(client, CHAT, chat(stream=True, stream_options={"include_usage": True}))
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)
    assert all(chunk["choices"] for chunk in streamed(client, CHAT, chat(stream=True)))


def test_a_wrong_value_is_400_in_openais_envelope_and_names_the_parameter(client: httpx.Client) -> None:
    """vLLM 12886, ray 64833, kserve 3886: 500, or another shape, for what the client did wrong; TensorRT-LLM 6329."""
    for fields in ({"temperature": -1}, {"top_p": 2}, {"n": 0}, {"max_tokens": "many"}, {"stop": 5}, {"seed": 0.5}):
        assert refusal(post(client, CHAT, chat(**fields)))["param"] == next(iter(fields))


def test_an_error_within_a_stream_is_raised_by_openais_client_and_follows_the_counts() -> None:
    """llama.cpp PR 16109, LiteLLM 40578, Bamboo-agent PR 98."""
    with serving(BROKEN) as gateway:
        ours = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
        options: Any = {"include_usage": True}
        stream = ours.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "a"}], stream=True, stream_options=options
        )
        with pytest.raises(openai.APIError, match="the engine failed"):
            list(stream)
        with httpx.Client(base_url=gateway.url) as client:
            *_, counts, error = streamed(client, CHAT, chat(stream=True, stream_options=options))
        assert counts["usage"]["completion_tokens"] == 1
        assert error["error"]["type"] == "server_error"


def test_a_parameter_that_cannot_be_honoured_is_rejected_with_the_reason(client: httpx.Client) -> None:
    """TensorRT 4855, TensorRT-LLM 9442: accepted, and then not done."""
    for name, value in (("suffix", "x"), ("bad_words", ["x"]), ("prompt_logprobs", 1)):
        error = refusal(post(client, COMPLETIONS, completion(**{name: value})))
        assert (error["param"], error["code"]) == (name, "unsupported_parameter")
        assert error["message"].count(": ") == 2, "there is a reason"


def test_reasoning_of_an_earlier_answer_may_be_sent_back(client: httpx.Client) -> None:
    """gsd-2 4647, vLLM 27755."""
    for name in ("reasoning", "reasoning_content"):
        messages = [HELLO, {"role": "assistant", "content": "b", name: "hm"}, HELLO]
        assert post(client, CHAT, chat(messages=messages)).status_code == 200


def test_a_request_has_one_id_everywhere(client: httpx.Client) -> None:
    for path, body, prefix in ((CHAT, chat, "chatcmpl-"), (COMPLETIONS, completion, "cmpl-")):
        response = post(client, path, body())
        id = response.json()["id"].removeprefix(prefix)
        assert response.headers["x-request-id"] == id
        assert BACKEND.generations[-1].request_id == f"{id}-0"
