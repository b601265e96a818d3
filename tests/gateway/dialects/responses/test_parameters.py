"""Every parameter takes effect, or is accepted where it asks for nothing, or is rejected by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.answers.backend import Generation
from gateway.answers.calls.tools import Tool, Tools
from gateway.dialects.responses.request import ResponsesRequest
from tests.gateway.dialects.responses.bodies import PATH, WEATHER, body, create, rejected, stream
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.model_card import ReasoningCard
from triton_repo.contract.tensors import TEXT_LENGTH

LISTED = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
TOKENS = json.dumps([{**LISTED, TEXT_LENGTH: 2}])
PARSED = replace(CARD, tool_parser="hermes", max_logprobs=20, guides=("json_schema",))
CARDS = {
    "demo": PARSED,
    "levels": replace(CARD, reasoning=ReasoningCard("openai_gptoss", reads_effort=True)),
    "switched": replace(CARD, reasoning=ReasoningCard("deepseek_v3", "thinking")),
}
BACKEND = ScriptedBackend((delta('{"a": 1}', "stop", 5),), cards=CARDS)
CALLED = (delta('[{"name": "weather", "arguments": {"city": "Bonn"}}]', "stop", 5),)
CALLED_TIME = (delta('[{"name": "time", "arguments": {}}]', "stop", 5),)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
NO_EFFECT = "x-ignored-parameters"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def asked(client: httpx.Client, **fields: Any) -> Generation:
    create(client, **fields)
    return BACKEND.generations[-1]


def template_arguments(generation: Generation) -> dict[str, Any]:
    arguments: dict[str, Any] = json.loads(generation.prompt.json)["template_arguments"]  # type: ignore[union-attr]
    return arguments


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"max_output_tokens": -1}, {"max_tokens": None}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"top_p": 0}, {"top_p": None, "top_k": 1}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1, "frequency_penalty": -1}),
        ({"seed": 7.0, "top_k": 5, "min_p": 0.1}, {"seed": 7, "top_k": 5, "min_p": 0.1}),
        ({"top_logprobs": 3}, {"logprobs": 3}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": 0}),
        ({"text": {"format": {"type": "text"}}}, {"guided_decoding_guide_type": None}),
        ({"text": {"format": {"type": "json_object"}}}, {"guided_decoding_guide_type": "json"}),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}},
            {
                "guided_decoding_guide_type": "json_schema",
                "guided_decoding_guide": json.dumps(SCHEMA, separators=(",", ":")),
            },
        ),
    ],
)
def test_it_reaches_the_engine(client: httpx.Client, fields: dict[str, Any], sampling: dict[str, Any]) -> None:
    given = asked(client, **fields).sampling
    assert {name: getattr(given, name) for name in sampling} == sampling


def test_effort_reaches_the_template_under_the_names_that_templates_have(client: httpx.Client) -> None:
    assert template_arguments(asked(client, model="levels", reasoning={"effort": "max"})) == {
        "reasoning_effort": "high"
    }
    none = template_arguments(asked(client, model="switched", reasoning={"effort": "none"}))
    assert none == {"thinking": False}
    own = template_arguments(asked(client, chat_template_kwargs={"enable_thinking": True}))
    assert own == {"enable_thinking": True}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ("auto", ["weather", "time"])),
        ("auto", ("auto", ["weather", "time"])),
        ("required", ("required", ["weather", "time"])),
        ({"type": "function", "name": "time"}, ("required", ["time"])),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
            ("auto", ["weather"]),
        ),
        ("none", None),
    ],
)
def test_tools_are_offered_as_in_a_chat(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, choice: Any, expected: Any
) -> None:
    monkeypatch.setattr(BACKEND, "script", CALLED_TIME if expected and expected[1] == ["time"] else CALLED)
    tools = [WEATHER, {"type": "function", "name": "time"}]
    generation = asked(client, tools=tools, tool_choice=choice, parallel_tool_calls=False)
    offered = generation.parsing.tools if generation.parsing else None
    listed = json.loads(generation.prompt.json)["tools"]  # type: ignore[union-attr]
    if expected is None:
        assert (offered, listed) == (None, None)
        return
    known = {"weather": Tool("weather", WEATHER["parameters"], True), "time": Tool("time")}  # type: ignore[arg-type]
    assert offered == Tools(tuple(known[name] for name in expected[1]), expected[0], parallel=False)
    assert [tool["function"]["name"] for tool in listed] == expected[1]


def test_a_response_repeats_what_was_asked_for(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKEND, "script", CALLED)
    fields = {
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True, "description": None}},
        "max_output_tokens": 9,
        "max_tool_calls": 3,
        "temperature": 0.25,
        "top_p": 0.5,
        "top_logprobs": 2,
        "store": False,
        "service_tier": "flex",
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "truncation": "disabled",
    }
    response = create(client, **fields)
    format = response["text"].pop("format")
    assert format == fields.pop("text")["format"]  # type: ignore[index]
    assert {name: response[name] for name in fields} == fields
    assert BACKEND.generations[-1].sampling.max_tokens == 9


def test_a_form_whose_strictness_was_left_out_is_told_as_not_strict(client: httpx.Client) -> None:
    format = {"type": "json_schema", "name": "x", "schema": {**SCHEMA, "default": None}}
    shown = create(client, text={"format": format})["text"]["format"]
    assert shown == {**format, "strict": False, "description": None}


def test_logprobs_are_those_of_the_deltas_and_of_the_whole_text() -> None:
    script = (delta("Hi", "stop", 1)._replace(tokens=TOKENS),)
    backend = ScriptedBackend(script, cards={"demo": PARSED})
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url) as client:
        events = stream(client, top_logprobs=1)
    assert [event["logprobs"] for event in events if event["type"].startswith("response.output_text")] == [[LISTED]] * 2
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [LISTED]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"tools": [{"type": "teleport"}]}, "tools", "unsupported_parameter"),
        ({"tools": [{"type": "custom", "name": "a b"}]}, "tools", None),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools", None),
        ({"tools": [WEATHER, WEATHER]}, "tools", None),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice", None),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": ""}}, "tool_choice", None),
        ({"tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"context_management": [{"type": "compaction"}]}, "context_management", "unsupported_parameter"),
        ({"moderation": {"model": "x"}}, "moderation", "unsupported_parameter"),
        ({"max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"max_completion_tokens": 5}, "max_completion_tokens", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"logit_bias": {"1": 2}}, "logit_bias", "unsupported_parameter"),
        ({"include": ["x"]}, "include", None),
        ({"include": [""]}, "include", None),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", None),
        ({"metadata": {"a": 1}}, "metadata", None),
        ({"background": True, "store": False}, "background", None),
        ({"text": {"format": {"type": "xml"}}}, "text", None),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text", None),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "text", None),
        ({"reasoning": {"effort": 7}}, "reasoning", None),
        ({"max_output_tokens": 0}, "max_output_tokens", None),
        ({"top_logprobs": 21}, "top_logprobs", None),
        ({"stream": "yes"}, "stream", None),
        ({"model": 5}, "model", None),
    ],
)
def test_it_is_rejected_by_its_name(client: httpx.Client, fields: dict[str, Any], param: str, code: str | None) -> None:
    error = rejected(client, **fields)
    assert (error["param"], error["code"]) == (param, code)
    assert param in error["message"]


def test_what_has_no_effect_is_named_in_a_header(client: httpx.Client) -> None:
    fields = {
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": False},
        "max_tool_calls": 4,
        "user": "u",
    }
    answer = client.post(PATH, json=body(**fields))
    assert answer.status_code == 200
    assert answer.headers[NO_EFFECT] == "reasoning.summary, text.verbosity, reasoning.effort"
    assert client.post(PATH, json=body(wings=2)).headers[NO_EFFECT] == "wings"
    strict = client.post(PATH, json=body(wings=2), headers={"prefer": "handling=strict"})
    assert (strict.status_code, strict.json()["error"]["param"]) == (400, "wings")


def test_null_is_the_same_as_absent(client: httpx.Client) -> None:
    names = set(ResponsesRequest.model_fields) - {"model", "input"}
    create(client, **dict.fromkeys(names))
