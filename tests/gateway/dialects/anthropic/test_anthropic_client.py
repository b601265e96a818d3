"""Anthropic's own client as the judge of what the gateway writes, and agents' requests over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import TextBlock

from gateway.answers.backend import Chat
from tests.gateway.dialects.anthropic import agent_requests
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import ContextLengthExceeded, EngineFailed, EngineUnavailable
from triton_repo.contract.model_card import ReasoningCard

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
KEY = "a-key-of-our-own"


@contextmanager
def client_of(backend: ScriptedBackend, **settings: Any) -> Iterator[anthropic.Anthropic]:
    with (
        serving(backend, **settings) as gateway,
        anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client,
    ):
        yield client


def create(client: anthropic.Anthropic, **fields: Any) -> anthropic.types.Message:
    message: anthropic.types.Message = client.messages.create(
        **{"model": "demo", "max_tokens": 100, "messages": HELLO, **fields}
    )
    return message


def test_a_message_and_its_stream_are_the_same() -> None:
    with client_of(ScriptedBackend()) as client:
        whole = create(client)
        with client.messages.stream(model="demo", max_tokens=100, messages=HELLO) as stream:
            assert list(stream.text_stream) == ["Hello", " world"]
            streamed = stream.get_final_message()
        kinds = [event.type for event in create(client, stream=True)]  # type: ignore[attr-defined]
    assert [TextBlock.model_validate(block.to_dict()) for block in streamed.content] == whole.content
    assert whole.content == [TextBlock(type="text", text="Hello world")]
    assert (whole.stop_reason, whole.usage.input_tokens, whole.usage.output_tokens) == ("end_turn", 3, 2)
    assert (streamed.stop_reason, streamed.usage) == (whole.stop_reason, whole.usage)
    assert kinds[:2] + kinds[-3:] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, ["text"]),
        ({"thinking": {"type": "disabled"}}, ["text"]),
        ({"thinking": {"type": "adaptive"}}, ["thinking", "text"]),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, ["thinking", "text"]),
        ({"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, ["thinking", "text"]),
    ],
)
def test_who_does_not_ask_for_thinking_finds_the_text_in_the_first_block(
    fields: dict[str, Any], kinds: list[str]
) -> None:
    reasons = replace(CARD, reasoning=ReasoningCard(parser="qwen3"))
    script = [delta("<think>Hm.</think>"), delta("Hello", "stop")]
    with client_of(ScriptedBackend(script, {"demo": reasons})) as client:
        assert [block.type for block in create(client, **fields).content] == kinds
        with client.messages.stream(model="demo", max_tokens=100, messages=HELLO, **fields) as stream:
            assert [block.type for block in stream.get_final_message().content] == kinds


def test_the_asynchronous_client_streams_too() -> None:
    async def ask(url: str) -> str:
        client = anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)
        async with client, client.messages.stream(model="demo", max_tokens=100, messages=HELLO) as stream:
            return "".join([text async for text in stream.text_stream])

    with serving(ScriptedBackend()) as gateway:
        assert asyncio.run(ask(gateway.url)) == "Hello world"


def test_the_stop_sequence_that_ended_it_is_named() -> None:
    backend = ScriptedBackend([delta("one two"), delta(" three", "stop", 3)])
    with client_of(backend) as client:
        message = create(client, stop_sequences=["four", " two", ""])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " two")
    assert message.content == [TextBlock(type="text", text="one")]


def test_errors_are_those_that_the_client_knows() -> None:
    cases: list[tuple[Exception, type[anthropic.APIStatusError], str]] = [
        (EngineFailed("it failed"), anthropic.InternalServerError, "api_error"),
        (EngineUnavailable("it is busy"), anthropic.InternalServerError, "overloaded_error"),
        (
            ContextLengthExceeded("messages: 3000 tokens", "messages"),
            anthropic.BadRequestError,
            "invalid_request_error",
        ),
    ]
    backend = ScriptedBackend()
    with client_of(backend) as client:
        for error, kind, name in cases:
            backend.script = (error,)
            with pytest.raises(kind) as caught:
                create(client)
            assert caught.value.type == name
            assert caught.value.request_id
            assert caught.value.body["request_id"] == caught.value.request_id  # type: ignore[index]
        assert "prompt is too long: messages: 3000 tokens" in str(caught.value)
        with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
            create(client, model="other")
        backend.script = (delta("Hel"), EngineFailed("it failed"))
        with (
            pytest.raises(anthropic.APIStatusError) as caught,
            client.messages.stream(model="demo", max_tokens=9, messages=HELLO) as stream,
        ):
            list(stream)
        assert caught.value.type == "api_error"


def test_a_key_comes_in_either_header() -> None:
    with serving(ScriptedBackend(), api_key=KEY) as gateway:
        for options in ({"api_key": KEY}, {"auth_token": KEY}):
            with anthropic.Anthropic(base_url=gateway.url, max_retries=0, **options) as client:  # type: ignore[arg-type]
                assert create(client).role == "assistant"
        with (
            anthropic.Anthropic(base_url=gateway.url, max_retries=0, api_key="other") as wrong,
            pytest.raises(anthropic.AuthenticationError) as caught,
        ):
            create(wrong)
    assert caught.value.type == "authentication_error"
    assert "x-api-key: KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("PUT", "/v1/nowhere", 404, "not_found_error"),
    ],
)
def test_every_path_has_its_errors(method: str, path: str, status: int, kind: str) -> None:
    with serving(ScriptedBackend()) as gateway:
        response = httpx.request(method, gateway.url + path, headers={"anthropic-version": "2023-06-01"})
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert response.headers["request-id"] == response.headers["x-request-id"] == body["request_id"]


def test_a_stream_that_says_nothing_is_kept_alive_by_events() -> None:
    backend = ScriptedBackend([delta("a"), 0.5, delta("b", "stop", 2)])
    with serving(backend, sse_ping_interval_s=0.05) as gateway:
        body = {"model": "demo", "max_tokens": 9, "messages": HELLO, "stream": True}
        assert '\n\nevent: ping\ndata: {"type": "ping"}\n\n' in httpx.post(f"{gateway.url}/v1/messages", json=body).text


@pytest.mark.parametrize("request_body", agent_requests.ALL)
def test_what_agents_send_is_taken(request_body: dict[str, Any]) -> None:
    backend = ScriptedBackend(cards={"demo": replace(CARD, tool_parser="hermes")})
    with serving(backend) as gateway:
        url = f"{gateway.url}/v1/messages?beta=true"
        answer = httpx.post(url, json=request_body, headers=agent_requests.HEADERS)
    assert answer.status_code == 200, answer.text
    [generation] = backend.generations
    assert generation.clip_max_tokens
    assert isinstance(generation.prompt, Chat)
    assert b"billing" not in generation.prompt.json
    if "context_management" in request_body:
        assert "context_management" in answer.headers["x-ignored-parameters"].split(", ")
