"""Logprobs through the real stack: the model's own on OpenVINO, made-up ones with alternatives on the replay."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import Stack
from tests.serving import demo_model

QUESTION: list[Any] = [{"role": "user", "content": "What is Conch?"}]


@pytest.fixture
def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0)


def whole(client: OpenAI, **fields: Any) -> list[Any]:
    request = {"model": "demo", "messages": QUESTION, "logprobs": True, **fields}
    return list(client.chat.completions.create(**request).choices[0].logprobs.content)


def streamed(client: OpenAI, **fields: Any) -> tuple[str, list[Any]]:
    request = {"model": "demo", "messages": QUESTION, "logprobs": True, "stream": True, **fields}
    choices = [chunk.choices[0] for chunk in client.chat.completions.create(**request)]
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    return "".join(choice.delta.content or "" for choice in choices), tokens


def test_the_logprobs_of_a_greedy_answer_are_the_checkpoints_own(client: OpenAI) -> None:
    prompt = demo_model.prompt_ids(QUESTION)
    *ids, _ = demo_model.greedy_ids(prompt)
    tokens = whole(client, temperature=0)
    assert [token.token for token in tokens] == [demo_model.decode([id]) for id in ids]
    assert all(token.logprob <= 0 and math.isfinite(token.logprob) for token in tokens)
    reference = demo_model.logprobs(prompt, ids)
    assert [token.logprob for token in tokens] == pytest.approx(reference, abs=0.02)


@pytest.mark.parametrize("sampling", [{"temperature": 0.5}, {"temperature": 1.5, "top_p": 0.7}])
def test_logprobs_are_those_before_temperature_and_top_p(client: OpenAI, sampling: dict[str, float]) -> None:
    prompt = demo_model.encode("Triton is")
    request: dict[str, Any] = {"model": "demo", "prompt": prompt, "max_tokens": 16, "seed": 3, **sampling}
    listed = client.completions.create(**request, logprobs=0, extra_body={"ignore_eos": True}).choices[0].logprobs
    ids = [demo_model.encode(token) for token in listed.tokens]
    assert all(len(one) == 1 for one in ids), "each token is spelled as it is in the vocabulary"
    reference = demo_model.logprobs(prompt, [id for [id] in ids])
    assert listed.token_logprobs == pytest.approx(reference, abs=0.05)


@pytest.mark.parametrize("stop", [None, [" Triton"]])
def test_a_streamed_answer_lists_what_the_whole_one_lists(client: OpenAI, stop: list[str] | None) -> None:
    text, tokens = streamed(client, temperature=0, stop=stop)
    spelled = b"".join(bytes(token.bytes) for token in tokens).decode()
    assert spelled == text + (stop[0] if stop else "")
    assert [(token.token, token.logprob) for token in tokens] == [
        (token.token, pytest.approx(token.logprob, abs=1e-3)) for token in whole(client, temperature=0, stop=stop)
    ]


def test_the_replay_names_alternatives_streamed_and_whole(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "replay", "max_tokens": 50, "top_logprobs": 4}
    text, tokens = streamed(client, **fields)
    assert tokens == whole(client, **fields)
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == text
    assert {len(token.top_logprobs) for token in tokens} == {4}
    for token in tokens:
        ranked = [other.logprob for other in token.top_logprobs]
        assert ranked == sorted(ranked, reverse=True)
        assert {other.token: other.logprob for other in token.top_logprobs}[token.token] == token.logprob


def test_a_completion_counts_offsets_through_its_stream(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "replay", "prompt": "x", "max_tokens": 30, "logprobs": 2}
    answer = client.completions.create(**fields).choices[0]
    chunks = [chunk.choices[0].logprobs for chunk in client.completions.create(**fields, stream=True)]
    listed = [logprobs for logprobs in chunks if logprobs]
    assert [offset for logprobs in listed for offset in logprobs.text_offset] == answer.logprobs.text_offset
    for token, offset in zip(answer.logprobs.tokens, answer.logprobs.text_offset, strict=True):
        assert answer.text[offset:].startswith(token)
    assert {len(top) for top in answer.logprobs.top_logprobs} == {2, 3}, "the token itself is always named"


def test_each_of_many_gets_its_own_logprobs_or_none(stack: Stack) -> None:
    """On one channel, where most messages hold deltas of both kinds."""

    async def ask(asynchronous: AsyncOpenAI, number: int) -> Any:
        fields: dict[str, Any] = {"model": "replay", "prompt": "x", "max_tokens": 60 + number, "stream": True}
        if number % 2:
            fields["logprobs"] = number % 5
        return [chunk.choices[0] async for chunk in await asynchronous.completions.create(**fields)]

    async def crowd() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0) as asynchronous:
            return await asyncio.gather(*(ask(asynchronous, number) for number in range(16)))

    for number, choices in enumerate(asyncio.run(crowd())):
        text = "".join(choice.text for choice in choices)
        tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.tokens]
        assert "".join(tokens) == (text if number % 2 else "")
        assert len(tokens) == (60 + number if number % 2 else 0)


def test_the_choices_of_one_request_are_listed_apart(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=QUESTION, n=3, seed=1, temperature=1.5, max_tokens=12, logprobs=True
    )
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        spelled = b"".join(bytes(token.bytes or ()) for token in choice.logprobs.content)
        assert spelled.decode(errors="replace") == choice.message.content


def test_openvino_refuses_alternatives_by_name(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="2 alternatives to each token; the openvino") as refused:
        whole(client, top_logprobs=2)
    assert (refused.value.param, refused.value.code) == ("top_logprobs", "unsupported_parameter")


def test_a_raw_client_asks_by_a_parameter_and_reads_them_behind_the_text(stack: Stack) -> None:
    url = f"{stack.triton_http}/v2/models/replay/generate"
    asked = {"text_input": "x", "max_tokens": 6}
    text, listed = httpx.post(url, json={**asked, "logprobs": 1}).json()["text_output"]
    assert httpx.post(url, json=asked).json()["text_output"] == text
    tokens = json.loads(listed)
    assert "".join(token["token"] for token in tokens) == text
    assert sum(token["text_length"] for token in tokens) == len(text)
    refused = httpx.post(f"{stack.triton_http}/v2/models/demo/generate", json={**asked, "logprobs": 1})
    assert refused.status_code == 400
    assert "[conch:UnsupportedParameter:logprobs]" in refused.text
