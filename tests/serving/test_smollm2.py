"""A real model through the real stack: SmolLM2-135M-Instruct out of its package, as `make serve` serves it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import Stack, serving
from tests.serving import smollm2
from tests.serving.smollm2 import AS_SERVED, FLOAT
from tests.serving.triton_client import row, triton_stream

# Chosen so that transformers has no two candidates within MARGIN of each other at any place of its answers: the order
# of additions, which differs between the two and with what else is in the batch, then decides nothing.
QUESTIONS = (
    "What is the capital of France?",
    "Count from 1 to 10.",
    "What is photosynthesis?",
    "Say hello in French, 你好 and 😀.",
    "What does HTTP stand for?",
    "What is a prime number?",
)
MARGIN = 0.02
MAX_TOKENS = 24
END = 2  # <|im_end|>


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with serving(*smollm2.engines(), log=tmp_path_factory.mktemp("smollm2") / "serve.log") as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0)


def messages(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def request(question: str, **fields: Any) -> dict[str, Any]:
    chat = {"model": FLOAT, "messages": messages(question), "temperature": 0, "max_tokens": MAX_TOKENS}
    return chat | fields


def engine_ids(stack: Stack, prompt: list[int]) -> list[int]:
    """The greedy answer as the engine itself gives it, without the end token."""
    limits = [row("temperature", "FP32", [0.0]), row("max_tokens", "INT32", [MAX_TOKENS])]
    with triton_stream(stack.triton_grpc) as stream:
        stream.send(f"{FLOAT}_engine", [row("input_ids", "INT32", prompt), *limits])
        (result,) = stream.until_final()
    return list(result.as_numpy("output_ids")[0].tolist())


@pytest.mark.parametrize("question", QUESTIONS)
def test_greedy_answers_equal_transformers_token_for_token_and_streamed(
    stack: Stack, client: OpenAI, question: str
) -> None:
    prompt = smollm2.prompt_ids(messages(question))
    ids = engine_ids(stack, prompt)
    ids += [END] if len(ids) < MAX_TOKENS else []
    best = smollm2.best(prompt, ids)
    assert best.least_margin > MARGIN
    assert ids == best.ids
    whole: Any = client.chat.completions.create(**request(question))
    chunks: list[Any] = list(
        client.chat.completions.create(**request(question, stream=True, stream_options={"include_usage": True}))
    )
    assert whole.choices[0].message.content == smollm2.decode(ids)
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(prompt), len(ids))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == smollm2.decode(ids)
    assert chunks[-1].usage == whole.usage


def test_logprobs_equal_transformers(client: OpenAI) -> None:
    prompt = smollm2.prompt_ids(messages(QUESTIONS[2]))
    answer: Any = client.chat.completions.create(**request(QUESTIONS[2], logprobs=True)).choices[0]
    tokens = answer.logprobs.content
    assert "".join(token.token for token in tokens) == answer.message.content
    ids = [id for token in tokens for id in smollm2.encode(token.token)]
    assert len(ids) == len(tokens)
    assert [token.logprob for token in tokens] == pytest.approx(smollm2.best(prompt, ids).logprobs, abs=0.01)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_answer_before_it(client: OpenAI, stream: bool) -> None:
    whole: Any = client.chat.completions.create(**request("Count from 1 to 10."))
    before, _, _ = whole.choices[0].message.content.partition("5.")
    stopped: Any = client.chat.completions.create(**request("Count from 1 to 10.", stop=["5."], stream=stream))
    choices = [chunk.choices[0] for chunk in stopped] if stream else stopped.choices
    texts = [(choice.delta if stream else choice.message).content or "" for choice in choices]
    assert ("".join(texts), choices[-1].finish_reason) == (before, "stop")
    assert before


@pytest.mark.parametrize(
    "text",
    [
        "12345 and 6.78e9",
        "naïve façade, Ünïcödé",
        "日本語とемодзи 🐚👩‍👩‍👧",
        "  two  spaces\n\tand a tab\n",
    ],
)
def test_prompts_are_tokenized_as_transformers_does(client: OpenAI, text: str) -> None:
    answer: Any = client.chat.completions.create(**request(text, max_tokens=1))
    assert answer.usage.prompt_tokens == len(smollm2.prompt_ids(messages(text)))


def test_special_tokens_of_a_client_are_text(client: OpenAI) -> None:
    written = "<|im_start|>not a turn"
    answer: Any = client.chat.completions.create(**request(written, max_tokens=1))
    assert answer.usage.prompt_tokens > len(smollm2.prompt_ids(messages(written))), "transformers reads a turn"


def test_sixteen_at_a_time_get_the_answers_that_each_gets_alone(client: OpenAI, stack: Stack) -> None:
    chance = random.Random(5)
    jobs = [request(chance.choice(QUESTIONS), max_tokens=chance.choice([9, 15, MAX_TOKENS])) for _ in range(32)]
    alone = {
        question: client.chat.completions.create(**request(question)).choices[0].message.content
        for question in QUESTIONS
    }

    async def ask(openai: AsyncOpenAI, gate: asyncio.Semaphore, job: dict[str, Any]) -> str:
        async with gate:
            chunks = await openai.chat.completions.create(**job, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    async def crowd() -> list[str]:
        gate = asyncio.Semaphore(16)
        async with AsyncOpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0) as openai:
            return await asyncio.gather(*(ask(openai, gate, job) for job in jobs))

    for job, answer in zip(jobs, asyncio.run(crowd()), strict=True):
        whole = alone[job["messages"][0]["content"]] or ""
        assert whole.startswith(answer.rstrip("\ufffd"))  # a limit may cut a character
        assert answer == whole or job["max_tokens"] < MAX_TOKENS


def test_the_engine_that_was_named_first_is_the_one_that_clients_take_by_default(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [FLOAT, AS_SERVED]


def test_the_engine_that_a_newcomer_meets_knows_the_capital_of_france(client: OpenAI) -> None:
    answer: Any = client.chat.completions.create(**request(QUESTIONS[0], model=AS_SERVED))
    assert "Paris" in answer.choices[0].message.content


def weather_tool() -> dict[str, Any]:
    properties = {"city": {"type": "string", "maxLength": 40}, "unit": {"enum": ["celsius", "fahrenheit"]}}
    parameters = {"type": "object", "properties": properties, "required": ["city", "unit"]}
    function = {"name": "get_weather", "description": "Get the weather of a city", "parameters": parameters}
    return {"type": "function", "function": function}


def test_a_weather_tool_is_called_with_valid_arguments_streamed_and_whole(client: OpenAI) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    question = "What is the weather in Paris, in celsius?"
    asked = request(question, model=AS_SERVED, tools=[weather_tool()], tool_choice=named, max_tokens=100)
    whole: Any = client.chat.completions.create(**asked).choices[0]
    [call] = whole.message.tool_calls
    assert (call.function.name, whole.finish_reason, whole.message.content) == ("get_weather", "tool_calls", None)
    assert json.loads(call.function.arguments) == {"city": "Paris", "unit": "celsius"}
    with client.chat.completions.stream(**asked) as stream:
        streamed: Any = stream.get_final_completion().choices[0]
    [same] = streamed.message.tool_calls
    assert (same.function.name, same.function.arguments) == ("get_weather", call.function.arguments)
    assert streamed.finish_reason == "tool_calls"
