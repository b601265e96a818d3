"""Conversations that are longer than the context: what is dropped with `truncation` "auto", and what is never."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.responses.truncation import Shortenings
from tests.gateway.dialects.responses.bodies import create, rejected
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving

SYSTEM = {"role": "developer", "content": "Be brief."}


# A byte of the prompt's JSON is a token of this backend.
def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def call(id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}


def output(id: str, text: str = "x") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": text}


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture(scope="module")
def client(backend: ScriptedBackend) -> Iterator[httpx.Client]:
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def told(backend: ScriptedBackend) -> list[tuple[str, str]]:
    messages = json.loads(backend.generations[-1].prompt.json)["messages"]  # type: ignore[union-attr]
    return [(message["role"], message["content"][:2]) for message in messages]


def turns(*names: str, size: int = 100) -> list[dict[str, Any]]:
    return [item for name in names for item in (user(name.ljust(size)), answer(name.upper().ljust(size)))]


def test_the_oldest_turns_are_dropped_and_the_instructions_stay(client: httpx.Client, backend: ScriptedBackend) -> None:
    response = create(client, input=[SYSTEM, *turns("a ", "b ", "c "), user("now")], truncation="auto")
    assert response["truncation"] == "auto"
    assert told(backend) == [("system", "Be"), ("user", "c "), ("assistant", "C "), ("user", "no")]
    create(client, input=[SYSTEM, *turns("a ", "b ", "c ", size=300), user("now")], truncation="auto")
    assert told(backend) == [("system", "Be"), ("user", "no")]


def test_what_fits_is_left_as_it_is(client: httpx.Client, backend: ScriptedBackend) -> None:
    create(client, input=[*turns("a ", size=50), user("now")], truncation="auto")
    assert [text for _, text in told(backend)] == ["a ", "A ", "no"]


def test_room_is_left_for_the_answer(client: httpx.Client, backend: ScriptedBackend) -> None:
    body = {"input": [*turns("a ", size=50), user("now")], "truncation": "auto"}
    create(client, **body, max_output_tokens=CARD.max_seq_len - 150)
    assert [text for _, text in told(backend)] == ["no"]


def test_of_a_long_last_turn_the_question_stays_and_its_oldest_steps_go(
    client: httpx.Client, backend: ScriptedBackend
) -> None:
    steps = [item for id in "abcd" for item in (call(id), output(id, id * 60))]
    create(client, input=[*turns("old "), user("task"), *steps], truncation="auto")
    assert told(backend) == [("user", "ta"), ("assistant", ""), ("tool", "dd")]


def test_a_long_conversation_takes_a_few_looks_and_is_kept_whole(
    client: httpx.Client, backend: ScriptedBackend
) -> None:
    made = client.post("/v1/conversations", json={}).json()["id"]
    for _ in range(50):
        items = turns(*(f"{index} " for index in range(10)), size=30)
        client.post(f"/v1/conversations/{made}/items", json={"items": items})
    del backend.prompts[:]
    create(client, input="now", conversation=made, truncation="auto")
    assert len(backend.prompts) <= 11
    assert told(backend)[0][0] == "user"
    assert told(backend)[-1] == ("user", "no")
    page = client.get(f"/v1/conversations/{made}/items", params={"order": "asc", "limit": 1}).json()
    assert page["data"][0]["content"][0]["text"].startswith("0 ")


def test_what_cannot_be_made_shorter_is_answered_by_the_engine(client: httpx.Client, backend: ScriptedBackend) -> None:
    """Which rejects it as it does without `truncation`."""
    create(client, input=[user("x" * 600)], truncation="auto")
    assert told(backend) == [("user", "xx")]
    assert rejected(client, truncation="always")["param"] == "truncation"


def test_tokens_are_counted_of_what_is_left(client: httpx.Client) -> None:
    body = {"model": "demo", "input": [*turns("a ", "b ", "c "), user("now")]}
    counts = [
        client.post("/v1/responses/input_tokens", json={**body, "truncation": truncation}).json()["input_tokens"]
        for truncation in ("disabled", "auto")
    ]
    assert counts[0] > CARD.max_seq_len > counts[1]


KINDS = st.sampled_from(["user", "assistant", "developer", "reasoning", "call", "output"])


@given(st.lists(KINDS, max_size=30))
def test_whatever_is_dropped_no_output_lacks_its_call(kinds: Sequence[str]) -> None:
    items: list[dict[str, Any]] = []
    waiting: list[str] = []
    for index, kind in enumerate(kinds):
        if kind == "call":
            items.append({"type": "function_call", "call_id": str(index)})
            waiting.append(str(index))
        elif kind == "output" and waiting:
            items.append({"type": "function_call_output", "call_id": waiting.pop(0)})
        elif kind == "reasoning":
            items.append({"type": "reasoning"})
        elif kind != "output":
            items.append({"type": "message", "role": kind, "index": index})
    shortenings = Shortenings(items)
    before = len(items)
    for number in range(len(shortenings)):
        left = shortenings[number]
        calls = [item["call_id"] for item in left if item["type"] == "function_call"]
        outputs = [item["call_id"] for item in left if item["type"] == "function_call_output"]
        answered = {item["call_id"] for item in items if item["type"] == "function_call_output"}
        assert set(outputs) <= set(calls)
        assert set(calls) & answered <= set(outputs)
        assert [item for item in left if item.get("role") == "developer"] == [
            item for item in items if item.get("role") == "developer"
        ]
        assert left[-1] is items[-1]
        if any(item.get("role") == "user" for item in items):
            first = next(item for item in left if item.get("role") != "developer")
            assert first.get("role") == "user"
        assert len(left) <= before
        before = len(left)
