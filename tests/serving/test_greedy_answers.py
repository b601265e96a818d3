"""What is served is what the checkpoint says: equal to transformers' greedy decoding, alone and in a crowd."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import Stack
from tests.serving import demo_model
from tests.serving.demo_model import Message
from tests.serving.triton_client import row, triton_stream

SAMPLE = random.Random(20260101).sample(demo_model.questions(), 24)


def asked(messages: list[Message]) -> str:
    return str(messages[-1]["content"])[:40]


def greedy(messages: list[Message], **fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": messages, "temperature": 0, **fields}


def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("messages", SAMPLE, ids=asked)
def test_a_greedy_answer_equals_transformers_streamed_and_not(stack: Stack, messages: list[Message]) -> None:
    prompt = demo_model.prompt_ids(messages)
    reference = demo_model.greedy_ids(prompt)
    assert reference[-1] == demo_model.eos_id(), "the demo ends its answers by itself"
    text = demo_model.decode(reference)
    with client(stack) as openai:
        whole = openai.chat.completions.create(**greedy(messages))
        streamed = openai.chat.completions.create(
            **greedy(messages, stream=True, stream_options={"include_usage": True})
        )
        chunks = list(streamed)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (text, "stop")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(prompt), len(reference))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize("messages", SAMPLE[:6], ids=asked)
def test_the_engines_token_ids_equal_transformers_one_by_one(stack: Stack, messages: list[Message]) -> None:
    ids = demo_model.prompt_ids(messages)
    reference = demo_model.greedy_ids(ids)
    with triton_stream(stack.triton_grpc) as stream:
        stream.send("demo_engine", [row("input_ids", "INT32", ids), row("temperature", "FP32", [0.0])])
        (result,) = stream.until_final()
    assert [*result.as_numpy("output_ids")[0].tolist(), demo_model.eos_id()] == reference


def test_ignore_eos_goes_on_behind_the_answer(stack: Stack) -> None:
    messages = SAMPLE[0]
    answer = demo_model.greedy_ids(demo_model.prompt_ids(messages))
    request = greedy(messages, max_tokens=len(answer) + 20, extra_body={"ignore_eos": True})
    with client(stack) as openai:
        longer = openai.chat.completions.create(**request)
    assert longer.choices[0].finish_reason == "length"
    assert longer.usage.completion_tokens == len(answer) + 20
    assert longer.choices[0].message.content.startswith(demo_model.decode(answer))


def test_sixteen_concurrent_mixed_requests_equal_their_solo_answers(stack: Stack) -> None:
    chance = random.Random(7)
    jobs = [
        greedy(messages, stream=chance.choice([True, False]), max_tokens=chance.choice([None, 5, 17, 60]))
        for messages in chance.sample(demo_model.questions(), 48)
    ]

    async def ask(openai: AsyncOpenAI, gate: asyncio.Semaphore, job: dict[str, Any]) -> str:
        async with gate:
            answer: Any = await openai.chat.completions.create(**job)
            if not job["stream"]:
                return str(answer.choices[0].message.content)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

    async def crowd() -> list[str]:
        gate = asyncio.Semaphore(16)
        async with AsyncOpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0) as openai:
            return await asyncio.gather(*(ask(openai, gate, job) for job in jobs))

    def solo(job: dict[str, Any]) -> str:
        limit = job["max_tokens"] or demo_model.MAX_NEW_TOKENS
        return demo_model.decode(demo_model.greedy_ids(demo_model.prompt_ids(job["messages"]), limit))

    assert asyncio.run(crowd()) == [solo(job) for job in jobs]
