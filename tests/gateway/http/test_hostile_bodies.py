"""Bodies that are valid and expensive: what they may cost to read."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gateway.dialects.openai.messages import MAX_PARTS
from gateway.dialects.openai.parameters import ignored_parameters
from gateway.dialects.openai.requests.chat import ChatCompletionRequest
from gateway.dialects.openai.requests.completion import MAX_PROMPT_IDS, CompletionRequest
from gateway.http.body import MAX_NODES, num_nodes
from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat, completion, post, refusal
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, delta
from tests.gateway.server import serving

MANY = 100


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (ChatCompletionRequest, {"messages": [{"role": "assistant", "tool_calls": [{}] * MANY}]}),
        (ChatCompletionRequest, {"messages": [{"role": "user", "content": [{}] * MANY}]}),
        (ChatCompletionRequest, {"messages": [{}] * MANY}),
        (ChatCompletionRequest, {"messages": [HELLO], "stop_token_ids": ["x"] * 64}),
        (CompletionRequest, {"prompt": "x", "stop_token_ids": ["x"] * 64}),
    ],
)
def test_a_list_with_a_fault_in_every_item_is_left_at_the_first(model: type[BaseModel], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"model": "demo", **fields})
    assert caught.value.error_count() <= 3  # fields of one item


def test_prompts_have_a_bounded_number_of_ids_together() -> None:
    with pytest.raises(ValidationError, match=f"at most {MAX_PROMPT_IDS} token ids together"):
        CompletionRequest.model_validate({"model": "demo", "prompt": [[1] * (MAX_PROMPT_IDS // 2)] * 3})
    CompletionRequest.model_validate({"model": "demo", "prompt": [1] * MAX_PROMPT_IDS})


def test_an_answer_calls_at_most_128_tools() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "tool_calls": [call] * 129}]
    with pytest.raises(ValidationError, match="at most 128"):
        ChatCompletionRequest.model_validate({"model": "demo", "messages": messages})


def test_json_that_can_be_read_but_is_too_deep_to_be_written_is_rejected() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": deep}
    predicate = {"type": "predicate", "instructions": [{"type": "input_json", "data": deep}]}
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": deep}]}
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": deep}}]}
    bodies: dict[str, list[dict[str, Any]]] = {
        CHAT: [
            {"messages": [called]},
            {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": deep}}]},
        ],
        "/v1/responses": [{"input": [call]}],
        "/v1/responses/input_tokens": [{"input": [call]}],
        "/v1/conversations": [{"items": [call]}],
        "/v1/decisions": [{"input": "x", "questions": [predicate]}, {"input": [call], "questions": [predicate]}],
        "/v1/messages": [{"messages": [used], "max_tokens": 1}, {"messages": [HELLO], "chat_template_kwargs": deep}],
    }
    with serving(ScriptedBackend()) as gateway, httpx.Client(base_url=gateway.url, timeout=120) as client:
        for path, body in [(path, body) for path, each in bodies.items() for body in each]:
            assert client.post(path, json={"model": "demo", **body}).status_code == 400, path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(messages=[{"role": "user", "content": "x" * 2000}], n=3)),
        (COMPLETIONS, completion(prompt="x" * 2000, n=3)),
        (COMPLETIONS, completion(prompt="\u20ac" * 700, n=3)),
        (COMPLETIONS, completion(prompt=[1] * 500, n=3)),
        (COMPLETIONS, completion(prompt=["x" * 1000, "y" * 1000], n=3)),
    ],
)
def test_no_n_makes_more_of_a_prompt_than_a_body_may_have(path: str, body: bytes) -> None:
    backend = ScriptedBackend()
    with serving(backend, max_body_bytes=5000) as gateway, httpx.Client(base_url=gateway.url) as client:
        error = refusal(post(client, path, body))
    assert error["param"] == "n"
    assert "5000 bytes" in error["message"]
    assert backend.generations == []


def test_a_prompt_and_its_copies_may_fill_what_a_body_may_have() -> None:
    backend = ScriptedBackend(cards={"demo": CARD})
    with serving(backend, max_body_bytes=6000) as gateway, httpx.Client(base_url=gateway.url) as client:
        assert post(client, COMPLETIONS, completion(prompt="x" * 2000, n=3)).status_code == 200
    assert len(backend.generations) == 3


def nodes(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(nodes, value.values()))
    return 1 + sum(map(nodes, value)) if isinstance(value, list) else 0


@settings(max_examples=300)
@given(
    st.recursive(
        st.text('[{:"\\x') | st.integers() | st.none(),
        lambda one: st.lists(one) | st.dictionaries(st.text('":\\'), one),
    ),
    st.integers(1, 20),
)
def test_lists_objects_and_keys_are_counted_outside_of_strings_alone(value: Any, step_bytes: int) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        body = json.dumps(value, separators=separators).encode()
        assert asyncio.run(num_nodes(body, step_bytes)) == nodes(value)


@pytest.mark.parametrize("junk", [[[]] * MAX_NODES, {str(key): 0 for key in range(MAX_NODES)}], ids=["lists", "keys"])
def test_a_body_of_very_many_lists_or_keys_is_rejected_before_it_is_parsed(junk: Any) -> None:
    with serving(ScriptedBackend()) as gateway, httpx.Client(base_url=gateway.url) as client:
        assert f"at most {MAX_NODES} lists, objects and keys" in refusal(post(client, CHAT, chat(junk=junk)))["message"]
        text = json.dumps(junk)
        assert post(client, CHAT, chat(messages=[{"role": "user", "content": text}])).status_code == 200


def test_all_messages_have_a_bounded_number_of_parts_and_tool_calls_together() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "content": [], "tool_calls": [call] * 128}] * (MAX_PARTS // 128)
    ChatCompletionRequest.model_validate({"model": "demo", "messages": messages})
    one_more = {"role": "user", "content": [{"type": "text", "text": "x"}]}
    with pytest.raises(ValidationError, match=f"at most {MAX_PARTS} content parts and tool calls together"):
        ChatCompletionRequest.model_validate({"model": "demo", "messages": [*messages, one_more]})


def test_of_very_many_ignored_fields_the_first_are_named() -> None:
    fields = {f"unknown{number:03}": 0 for number in range(1000)}
    names = [f"unknown{number:03}" for number in range(32)]
    assert ignored_parameters(fields, ChatCompletionRequest) == ", ".join(names)


def test_what_a_body_says_in_vain_is_gone_while_its_answer_streams() -> None:
    body = chat(stream=True, junk=[["said in vain"]])
    with serving(ScriptedBackend([delta("Hello"), HANG])) as gateway, gateway.post_unread(CHAT, body) as client:
        assert b"x-ignored-parameters: junk" in client.recv(65536)
        assert [one for one in gc.get_objects() if type(one) is list and one == ["said in vain"]] == []
