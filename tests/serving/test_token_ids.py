"""`return_token_ids` through the real stack, with the official client: the ids that the engine read and wrote."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import Stack
from tests.serving import demo_model

QUESTION: list[Any] = [{"role": "user", "content": "What is Conch?"}]
ASKED = {"return_token_ids": True}


@pytest.fixture
def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0)


def test_a_chat_has_the_ids_of_its_prompt_and_of_its_answer_to_the_end_token(client: OpenAI) -> None:
    prompt = demo_model.prompt_ids(QUESTION)
    ids = demo_model.greedy_ids(prompt)
    request: dict[str, Any] = {"model": "demo", "messages": QUESTION, "temperature": 0, "extra_body": ASKED}
    whole: Any = client.chat.completions.create(**request)
    assert (whole.prompt_token_ids, whole.choices[0].token_ids) == (prompt, ids)
    assert whole.usage.completion_tokens == len(ids)
    chunks: list[Any] = [*client.chat.completions.create(**request, stream=True)]
    assert chunks[0].prompt_token_ids == prompt
    assert [id for chunk in chunks for id in chunk.choices[0].token_ids] == ids
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_a_token_that_a_client_made_the_end_is_among_the_ids_and_not_in_the_text(client: OpenAI) -> None:
    prompt = demo_model.encode("Triton is")
    plain = client.completions.create(
        model="demo", prompt=prompt, max_tokens=8, temperature=0, extra_body={**ASKED, "ignore_eos": True}
    )
    ids = plain.choices[0].token_ids  # type: ignore[attr-defined]
    assert len(ids) == 8
    last = next(id for at, id in enumerate(ids) if at and id not in ids[:at])
    expected = ids[: ids.index(last) + 1]
    stopped: Any = client.completions.create(
        model="demo",
        prompt=prompt,
        max_tokens=8,
        temperature=0,
        logprobs=0,
        extra_body={**ASKED, "stop_token_ids": [last]},
    )
    [choice] = stopped.choices
    assert (choice.finish_reason, choice.prompt_token_ids, choice.token_ids) == ("stop", prompt, expected)
    assert choice.text == demo_model.decode(expected[:-1])
    assert len(choice.logprobs.tokens) == len(expected)


def test_streams_beside_each_other_get_the_ids_that_they_asked_for(stack: Stack, client: OpenAI) -> None:
    async def ask(client: AsyncOpenAI, number: int) -> list[Any]:
        body: dict[str, Any] = {"model": "replay", "prompt": f"x{number}", "max_tokens": 40 + number, "stream": True}
        stream: Any = await client.completions.create(**body, extra_body=ASKED if number % 2 else {})
        choices: list[Any] = [chunk.choices[0] async for chunk in stream]
        return choices

    async def crowd() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0) as asynchronous:
            answers: list[Any] = await asyncio.gather(*(ask(asynchronous, number) for number in range(16)))
            return answers

    for number, choices in enumerate(asyncio.run(crowd())):
        told = [id for choice in choices for id in getattr(choice, "token_ids", None) or ()]
        assert len(told) == (40 + number if number % 2 else 0)
        if told:
            with httpx.Client(base_url=stack.gateway) as http:
                text = http.post("/detokenize", json={"model": "replay", "tokens": told}).json()["prompt"]
            assert text == "".join(choice.text for choice in choices)


def test_a_prompt_of_ids_outside_the_vocabulary_is_rejected_by_name(client: OpenAI) -> None:
    outside: list[Any] = [[1, 999_999], [[1], [2**31 - 1]]]
    for prompt in outside:
        with pytest.raises(openai.BadRequestError, match=r"prompt: token id .* is not in 0 …") as rejected:
            client.completions.create(model="demo", prompt=prompt)
        assert rejected.value.param == "prompt"
