"""The official client over the real stack: every parameter works, every mistake is the client's own."""

from __future__ import annotations

import asyncio
import json
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


def say(client: OpenAI, **fields: Any) -> str:
    request = {"model": "demo", "messages": QUESTION, "temperature": 0, **fields}
    return str(client.chat.completions.create(**request).choices[0].message.content)


def test_both_engines_are_listed_with_their_limits(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {"demo", "replay"}
    assert client.models.retrieve("demo").model_dump()["max_model_len"] == 2048


def test_the_async_client_streams_the_same_answer(stack: Stack, client: OpenAI) -> None:
    async def stream() -> str:
        async with AsyncOpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0) as asynchronous:
            chunks = await asynchronous.chat.completions.create(
                model="demo", messages=QUESTION, temperature=0, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    assert asyncio.run(stream()) == say(client)


def test_a_completion_goes_on_from_text_and_from_token_ids_alike(client: OpenAI) -> None:
    ids = demo_model.prompt_ids(QUESTION)
    text = "<|im_start|>user\nWhat is Conch?<|im_end|>\n<|im_start|>assistant\n"
    answers = client.completions.create(model="demo", prompt=[text], temperature=0, max_tokens=30)
    by_ids = client.completions.create(model="demo", prompt=ids, temperature=0, max_tokens=30)
    assert answers.choices[0].text == by_ids.choices[0].text == demo_model.decode(demo_model.greedy_ids(ids, 30))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("stops", [[" Triton"], ["NVIDIA", "engine"], ["nowhere", "ngi"]])
def test_an_answer_ends_right_before_the_first_stop_string(client: OpenAI, stream: bool, stops: list[str]) -> None:
    whole = say(client)
    expected = whole[: min(whole.find(stop) for stop in stops if stop in whole)]
    request: dict[str, Any] = {"model": "demo", "messages": QUESTION, "temperature": 0, "stop": stops}
    if stream:
        chunks = list(client.chat.completions.create(**request, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        answer = client.chat.completions.create(**request)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (expected, "stop")


def test_a_seed_makes_a_sampled_answer_repeatable(client: OpenAI) -> None:
    hot = {"temperature": 2.0, "max_tokens": 40, "extra_body": {"ignore_eos": True}}
    answers = [say(client, seed=seed, **hot) for seed in (1, 1, 2, -5)]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


def test_n_gives_as_many_choices_each_with_its_own_seed(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=QUESTION, temperature=2.0, seed=3, n=3, max_tokens=20, extra_body={"ignore_eos": True}
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 60


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}, {"top_p": 0}])
def test_a_filter_that_leaves_one_token_makes_sampling_greedy(client: OpenAI, narrow: dict[str, Any]) -> None:
    assert say(client, temperature=1.5, extra_body=narrow) == say(client)


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty", "repetition_penalty"])
def test_penalties_reach_the_engine(client: OpenAI, penalty: str) -> None:
    free = {"ignore_eos": True}
    assert say(client, max_tokens=120, extra_body={**free, penalty: 2.0}) != say(
        client, max_tokens=120, extra_body=free
    )


def test_max_tokens_cuts_and_min_tokens_prolongs(client: OpenAI) -> None:
    short = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=5)
    assert (short.choices[0].finish_reason, short.usage and short.usage.completion_tokens) == ("length", 5)
    length = len(demo_model.greedy_ids(demo_model.prompt_ids(QUESTION)))
    longer = client.chat.completions.create(
        model="demo", messages=QUESTION, temperature=0, max_tokens=length + 50, extra_body={"min_tokens": length + 20}
    )
    assert longer.usage is not None
    assert longer.usage.completion_tokens >= length + 20


BROKEN: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages"),
    ({"messages": [{"role": "user", "content": "long " * 3000}]}, "messages"),
    ({"messages": [{"role": "user", "content": "x" * 300_000}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"max_tokens": 2048}, "max_tokens"),
    ({"max_completion_tokens": 2048}, "max_completion_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": 1.5}, "min_p"),
    ({"n": 0}, "n"),
    ({"n": 10**9}, "n"),
    ({"stop": ["a"] * 65}, "stop"),
    ({"stop": 5}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"seed": 2**70}, "seed"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"tools": [{"type": "function", "function": {"name": "not a name"}}]}, "tools"),
    ({"response_format": {"type": "regex", "regex": "(a"}}, "response_format"),
    ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "param"), BROKEN, ids=[json.dumps(fields)[:50] for fields, _ in BROKEN])
def test_a_broken_request_gets_400_with_its_parameter(
    stack: Stack, fields: dict[str, Any], param: str | None, stream: bool
) -> None:
    body = {"model": "demo", "messages": QUESTION, "stream": stream, **fields}
    if "stream_options" in fields:
        body["stream"] = False
    answer = httpx.post(f"{stack.gateway}/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert set(error) == {"message", "type", "param", "code"}


RAW = [
    b"",
    b"{",
    b"[]",
    b'{"temperature": NaN}',
    b'{"temperature": 1e999}',
    b"\xff",
    b"[" * 100_000,
    b'{"n": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", RAW, ids=lambda body: repr(body[:20]))
def test_a_body_that_is_no_json_object_gets_400(stack: Stack, body: bytes) -> None:
    answer = httpx.post(
        f"{stack.gateway}/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_half_a_surrogate_pair_gets_400(stack: Stack) -> None:
    body = rb'{"model": "demo", "messages": [{"role": "user", "content": "\ud800"}]}'
    answer = httpx.post(
        f"{stack.gateway}/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        say(client, model="gpt-9")
    assert caught.value.code == "model_not_found"


def test_after_all_mistakes_the_next_request_is_served(client: OpenAI) -> None:
    assert "Triton" in say(client)
