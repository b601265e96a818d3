"""Answers of a set form, through Triton and the gateway."""

from __future__ import annotations

import json
import re

import httpx

from tests.conftest import Stack

ASK = [{"role": "user", "content": "Describe a person."}]
FIELDS = {"model": "demo", "messages": ASK, "max_tokens": 300, "seed": 3}


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
