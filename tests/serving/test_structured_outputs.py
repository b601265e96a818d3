"""Answers of a set form, through Triton and the gateway, as OpenAI's own client asks for them."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from tests.conftest import Stack

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Describe a person."}]
FIELDS = {"model": "demo", "messages": ASK, "max_tokens": 300, "seed": 3}


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    tags: list[str] = Field(max_length=3)


@pytest.fixture(scope="module")
def client(gateway_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway_url}/v1", api_key="none", max_retries=0)


def test_the_official_client_parses_an_answer_into_its_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="demo", messages=ASK, response_format=Person, max_tokens=300, seed=3)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Person)
    assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_answer_matches_its_schema_too(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="demo", messages=ASK, response_format=Person, max_tokens=300, seed=4
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Person)


def test_json_object_is_an_object(stack: Stack) -> None:
    body = {**FIELDS, "response_format": {"type": "json_object"}, "max_tokens": 500}
    answer = httpx.post(f"{stack.gateway}/v1/chat/completions", json=body).json()
    [choice] = answer["choices"]
    assert choice["finish_reason"] in {"stop", "length"}
    assert choice["message"]["content"].lstrip().startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_completion_is_one_of_its_choices(stack: Stack) -> None:
    for seed in range(3):
        body = {"model": "demo", "prompt": "Answer:", "guided_choice": ["yes", "no (really)"], "seed": seed}
        answer = httpx.post(f"{stack.gateway}/v1/completions", json=body).json()
        assert re.fullmatch(r"yes|no \(really\)", answer["choices"][0]["text"])


def test_an_engine_without_guides_says_so_by_the_clients_name_of_the_field(stack: Stack) -> None:
    body = {**FIELDS, "model": "replay", "response_format": {"type": "json_object"}}
    answer = httpx.post(f"{stack.gateway}/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "response_format", "unsupported_parameter")
    assert error["message"].startswith("response_format: ")


def test_guides_that_cannot_be_followed_leave_other_streams_as_they_are(stack: Stack) -> None:
    """Each is an error of its own request: 400, by the client's name of the field."""
    greedy = {"model": "demo", "prompt": "Triton is", "max_tokens": 200, "temperature": 0, "ignore_eos": True}
    bombs: list[dict[str, Any]] = [
        {"guided_regex": "(" * 5000 + "a" + ")" * 5000},
        {"guided_regex": "(?=a)b"},
        {"guided_grammar": "root ::= " + "(" * 15_000 + '"a"' + ")" * 15_000},
        {"guided_grammar": "root ::= root"},
        {"guided_json": {"$ref": "#"}},
        {"guided_json": {"type": "array", "minItems": 10**9}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": []}}}},
    ]

    def text(fields: dict[str, Any]) -> str:
        return str(httpx.post(f"{stack.gateway}/v1/completions", json=fields).json()["choices"][0]["text"])

    def explode(fields: dict[str, Any]) -> tuple[int, str]:
        body = {"model": "demo", "prompt": "a", "max_tokens": 5, **fields}
        answer = httpx.post(f"{stack.gateway}/v1/completions", json=body)
        return answer.status_code, answer.json()["error"]["param"]

    alone = text(greedy)
    with ThreadPoolExecutor(len(bombs) + 4) as pool:
        beside = [pool.submit(text, greedy) for _ in range(4)]
        exploded = [*pool.map(explode, bombs)]
        assert [each.result() for each in beside] == [alone] * 4
    assert exploded == [(400, *bomb) for bomb in bombs]
    assert (
        text({"model": "demo", "prompt": "a", "guided_regex": "ab+c", "max_tokens": 20, "temperature": 0})[:2] == "ab"
    )
