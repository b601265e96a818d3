"""OpenAI's own client against a real gateway: what it parses is what OpenAI sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway.scripted_backend import ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import ContextLengthExceeded, EngineFailed

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
SCRIPT = (delta("", cached_tokens=2), delta("Hello", cached_tokens=2), delta(" world", "length", 7, cached_tokens=2))


@contextmanager
def client_of(backend: ScriptedBackend) -> Iterator[openai.OpenAI]:
    with (
        serving(backend) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with client_of(ScriptedBackend(SCRIPT)) as client:
        yield client


def test_a_whole_chat_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=MESSAGES)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "demo")
    assert [choice.message.content for choice in answer.choices] == ["Hello world"]
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "length")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 7, 10)
    assert answer.usage.prompt_tokens_details.cached_tokens == 2


def test_a_streamed_chat_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="demo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = stream
    deltas = [(chunk.choices[0].delta.role, chunk.choices[0].delta.content) for chunk in chunks]
    assert deltas == [("assistant", ""), (None, "Hello"), (None, " world"), (None, None)]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "length"]
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.completion_tokens, last.usage.total_tokens) == (7, 10)
    assert all(chunk.usage is None for chunk in chunks)


def test_a_whole_completion_for_several_prompts(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="demo", prompt=["a", "b"], n=2)
    assert answer.id.startswith("cmpl-")
    assert [(choice.index, choice.text) for choice in answer.choices] == [(i, "Hello world") for i in range(4)]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 28)


def test_a_streamed_completion(client: openai.OpenAI) -> None:
    with client.completions.create(model="demo", prompt=[1, 2, 3], stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello world"
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "length"]


def test_several_choices_are_streamed_side_by_side(client: openai.OpenAI) -> None:
    texts, ends = [""] * 5, []
    with client.chat.completions.create(model="demo", messages=MESSAGES, stream=True, n=5) as stream:
        for chunk in stream:
            choice = chunk.choices[0]
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends.append(choice.index)
    assert texts == ["Hello world"] * 5
    assert sorted(ends) == [0, 1, 2, 3, 4]


def test_many_asynchronous_streams_at_once(client: openai.OpenAI) -> None:
    async def read_one(reader: openai.AsyncOpenAI) -> str:
        text = ""
        async with await reader.chat.completions.create(model="demo", messages=MESSAGES, stream=True) as stream:
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
        return text

    async def read_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="unused", max_retries=0) as reader:
            return await asyncio.gather(*(read_one(reader) for _ in range(50)))

    assert asyncio.run(read_all()) == ["Hello world"] * 50


def test_models_can_be_listed_and_looked_up(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    model = client.models.retrieve("demo")
    assert (model.object, model.created, model.owned_by) == ("model", 1700000000, "conch")
    assert model.model_extra == {
        "root": "demo",
        "parent": None,
        "max_model_len": 512,
        "runtime": "scripted",
        "kind": "generate",
    }
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("org/other")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_token_is_a_status(stream: bool) -> None:
    script = [ContextLengthExceeded("too long", "messages")]
    with client_of(ScriptedBackend(script)) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=MESSAGES, stream=stream)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_an_error_after_the_first_token_is_raised_by_the_client() -> None:
    with (
        client_of(ScriptedBackend([delta("Hel"), EngineFailed("the engine failed")])) as client,
        client.chat.completions.create(model="demo", messages=MESSAGES, stream=True) as stream,
    ):
        read = [next(stream).choices[0].delta.content, next(stream).choices[0].delta.content]
        with pytest.raises(openai.APIError, match="the engine failed"):
            next(stream)
    assert read == ["", "Hel"]


def test_stop_strings_cut_the_answer_and_stop_the_engine() -> None:
    backend = ScriptedBackend([delta("one, t"), delta("wo, three", completion_tokens=2), 30.0])
    with client_of(backend) as client:
        whole = client.chat.completions.create(model="demo", messages=MESSAGES, stop=["three", "two"])
        with client.completions.create(model="demo", prompt="x", stop="two", stream=True) as stream:
            chunks = list(stream)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("one, ", "stop")
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one, "
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert backend.cancelled == [generation.request_id for generation in backend.generations]
    assert all(generation.stream for generation in backend.generations)


def test_seeds_count_up_over_the_choices() -> None:
    backend = ScriptedBackend()
    with client_of(backend) as client:
        client.completions.create(model="demo", prompt="x", n=3, seed=2**63 - 1)
        client.completions.create(model="demo", prompt="x", n=2)
    seeds = [generation.sampling.seed for generation in backend.generations]
    assert seeds == [2**63 - 1, 2**63, 2**63 + 1, None, None]
    assert len({generation.request_id for generation in backend.generations}) == 5
