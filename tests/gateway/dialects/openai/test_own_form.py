"""Calls in the form of the model's own: the guide that the engine gets, and the answer that it lets through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.gateway.bodies import CHAT, chat, post, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.model_card import ReasoningCard

GUIDES = ("json", "json_schema", "regex", "ebnf_grammar", "structural_tag")
SWITCHED = ReasoningCard("qwen3", "enable_thinking", tail="A", tail_on="A", tail_off="A<think>\n\n</think>\n\n")
OPENED = ReasoningCard("deepseek_r1", tail="A<think>\n")
TAGS = replace(CARD, tool_parser="hermes", guides=GUIDES)
CARDS = {
    "demo": TAGS,
    "switched": replace(TAGS, reasoning=SWITCHED),
    "opened": replace(TAGS, reasoning=OPENED),
    "schemas": replace(TAGS, guides=("json", "json_schema")),
    "no form": replace(TAGS, tool_parser="pythonic"),
    "bare": replace(TAGS, tool_parser="llama3_json"),
}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
BACKEND = ScriptedBackend(cards=CARDS)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def tool(name: str, parameters: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **fields}}


STRICT = tool("weather", CITY, strict=True)
FREE = tool("now", {"type": "object", "properties": {"zone": {"type": "string"}}})
FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "required": ["a"]}}}


def answers(*texts: str, reason: str = "stop") -> None:
    BACKEND.script = (*(delta(text) for text in texts), delta("", reason, 9))  # type: ignore[arg-type]


def guide(client: httpx.Client, **fields: Any) -> tuple[str | None, Any]:
    answers(CALL)
    assert post(client, CHAT, chat(**{"tools": [STRICT, FREE], **fields})).status_code in (200, 502)
    sampling = BACKEND.generations[-1].sampling
    text = sampling.guided_decoding_guide
    return sampling.guided_decoding_guide_type, json.loads(text) if text else None


def schemas(format: dict[str, Any]) -> list[Any]:
    return [tag["content"]["json_schema"] for tag in format["tags"]]


def test_strict_tools_that_the_model_may_call_are_guided_within_its_text(client: httpx.Client) -> None:
    kind, tag = guide(client)
    assert (kind, tag["format"]["type"], tag["format"]["triggers"]) == (
        "structural_tag",
        "triggered_tags",
        ["<tool_call>"],
    )
    strict, free = schemas(tag["format"])
    assert (strict, free) == (CITY, {"type": "object", "additionalProperties": True})
    assert tag["format"]["stop_after_first"] is False
    assert guide(client, parallel_tool_calls=False)[1]["format"]["stop_after_first"] is True
    assert guide(client, tools=[FREE]) == (None, None)


def test_required_calls_are_asked_for_in_the_models_own_form(client: httpx.Client) -> None:
    kind, tag = guide(client, tool_choice="required")
    assert (kind, tag["format"]["type"], len(tag["format"]["tags"])) == ("structural_tag", "tags_with_separator", 2)
    named = guide(client, tool_choice={"type": "function", "function": {"name": "now"}})[1]["format"]
    assert [each["begin"] for each in named["tags"]] == ['<tool_call>\n{"name": "now", "arguments": ']
    assert named["stop_after_first"] is True
    reference = {"type": "function", "function": {"name": "weather"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [reference]}}
    assert schemas(guide(client, tool_choice=allowed)[1]["format"]) == [CITY]


@pytest.mark.parametrize("model", ["schemas", "no form"])
def test_engines_and_models_without_such_guides_get_a_list_where_calls_are_required(
    client: httpx.Client, model: str
) -> None:
    assert guide(client, model=model) == (None, None)
    assert guide(client, model=model, tool_choice="required")[0] == "json_schema"


def test_a_family_whose_calls_begin_as_any_object_is_guided_where_they_are_required(client: httpx.Client) -> None:
    assert guide(client, model="bare") == (None, None)
    assert guide(client, model="bare", tool_choice="required")[0] == "structural_tag"
    assert guide(client, model="bare", response_format=FORM)[0] == "json_schema"


def test_reasoning_comes_before_the_guide(client: httpx.Client) -> None:
    after, at_once = guide(client, model="switched", tool_choice="required")[1]["format"]["elements"]
    assert (after["elements"][0]["begin"], at_once["type"]) == ("<think>", "tags_with_separator")
    opened = guide(client, model="opened")[1]["format"]["elements"]
    assert (opened[0]["begin"], opened[0]["end"], opened[-1]["type"]) == ("", "</think>", "triggered_tags")
    off = {"enable_thinking": False}
    kind, tag = guide(client, model="switched", tool_choice="required", chat_template_kwargs=off)
    assert (kind, tag["format"]["type"]) == ("structural_tag", "tags_with_separator")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_reasons_and_calls(client: httpx.Client, stream: bool) -> None:
    answers("<think>\nIt ", f"is Bonn.\n</think>\n\n{CALL[:20]}", CALL[20:])
    response = post(client, CHAT, chat(model="switched", tools=[STRICT], tool_choice="required", stream=stream))
    if stream:
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
        parts = [event["choices"][0]["delta"] for event in events]
        reasoning = "".join(part.get("reasoning_content") or "" for part in parts)
        calls = [call for part in parts for call in part.get("tool_calls", ())]
        arguments, reason = "".join(call["function"]["arguments"] for call in calls), events[-1]["choices"][0]
    else:
        reason = response.json()["choices"][0]
        reasoning = reason["message"]["reasoning_content"]
        [call] = reason["message"]["tool_calls"]
        arguments = call["function"]["arguments"]
    assert (reasoning, json.loads(arguments)) == ("It is Bonn.", {"city": "Bonn"})
    assert reason["finish_reason"] == "tool_calls"


def test_a_form_of_the_text_and_calls_are_alternatives(client: httpx.Client) -> None:
    kind, tag = guide(client, response_format=FORM)
    calls, text = tag["format"]["elements"]
    assert (kind, calls["type"]) == ("structural_tag", "tags_with_separator")
    assert schemas(text) == [{"type": "object", "required": ["a"]}]
    assert guide(client, regex="ab+")[1]["format"]["elements"][1]["tags"][0]["content"]["pattern"] == "ab+"
    quoting = json.dumps({"a": CALL})
    answers(quoting)
    message = post(client, CHAT, chat(tools=[STRICT], response_format=FORM)).json()["choices"][0]["message"]
    assert (message["content"], message.get("tool_calls")) == (quoting, None)
    answers("{}")
    assert post(client, CHAT, chat(tools=[STRICT], response_format=FORM)).status_code == 502
    answers(CALL)
    whole = post(client, CHAT, chat(tools=[STRICT], response_format=FORM)).json()["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == (None, "tool_calls")


def test_arguments_that_do_not_match_are_no_answer_but_of_tools_that_promise_nothing(client: httpx.Client) -> None:
    wrong = CALL.replace("Bonn", "much too long")
    answers(wrong)
    error = refusal(post(client, CHAT, chat(tools=[STRICT])), status=502)
    assert error["code"] == "answer_does_not_match"
    answers(wrong)
    assert post(client, CHAT, chat(tools=[tool("weather", CITY), tool("x", strict=True)])).status_code == 200
    answers(wrong[:70], reason="length")
    cut = post(client, CHAT, chat(tools=[STRICT])).json()["choices"][0]
    assert (cut["finish_reason"], len(cut["message"]["tool_calls"])) == ("length", 1)


NO_SCHEMAS: dict[str, Any] = {
    "pattern": {"properties": {"city": {"type": "string", "pattern": "("}}},
    "lookahead": {"properties": {"city": {"pattern": "^(?!x)"}}},
    "pattern of names": {"patternProperties": {"(": {}}},
    "type": {"properties": {"city": {"type": "text"}}},
    "reference": {"properties": {"city": {"$ref": "#/$defs/city"}}},
    "remote reference": {"properties": {"city": {"$ref": "https://example.com/city.json"}}},
    "required": {"required": [1]},
}


@pytest.mark.parametrize("name", NO_SCHEMAS)
@pytest.mark.parametrize("model", ["demo", "schemas"])
def test_arguments_that_no_schema_could_check_are_asked_for_in_vain(
    client: httpx.Client, model: str, name: str
) -> None:
    """An engine with a guide would answer first, and each answer be wrong."""
    parameters = {"type": "object", **NO_SCHEMAS[name]}
    strict = tool("weather", parameters, strict=True)
    answers(CALL)
    asked: list[dict[str, Any]] = [{"tool_choice": "required"}, {"response_format": FORM}]
    for fields in [{}, *asked] if model == "demo" else asked:
        error = refusal(post(client, CHAT, chat(model=model, tools=[strict], **fields)))
        assert error["param"] == "tools"
        assert "weather: not a JSON schema: " in error["message"]
    unenforced = post(client, CHAT, chat(model=model, tools=[tool("weather", parameters)]))
    assert unenforced.status_code == 200


@pytest.mark.parametrize("model", ["demo", "schemas"])
def test_schemas_that_are_too_long_are_not_looked_into(client: httpx.Client, model: str) -> None:
    """To compile the patterns of a whole body would hold up all other requests for minutes."""
    long = {"type": "object", "properties": {f"p{number}": {"pattern": "("} for number in range(4000)}}
    tools = [tool("weather", long, strict=True)]
    error = refusal(post(client, CHAT, chat(model=model, tools=tools, tool_choice="required")))
    assert "at most 65536 characters together" in error["message"]


BAD = {"type": "object", "properties": {"city": {"type": "string", "pattern": "("}}}
FUNCTION = {"type": "function", "name": "weather", "parameters": BAD, "strict": True}
BAD_FORMAT = {"format": {"type": "json_schema", "name": "a", "schema": BAD}}
INPUT = {"model": "demo", "input": "Hello"}
MESSAGE = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/v1/responses", {**INPUT, "tools": [FUNCTION]}, "tools"),
        ("/v1/responses", {**INPUT, "text": BAD_FORMAT}, "text"),
        ("/v1/messages", {**MESSAGE, "tools": [{"name": "weather", "input_schema": BAD, "strict": True}]}, "tools"),
        ("/v1/messages", {**MESSAGE, "output_config": {"format": {"type": "json_schema", "schema": BAD}}}, "output"),
        (CHAT, json.loads(chat(guided_json=BAD)), "guided_json"),
        (CHAT, json.loads(chat(structured_outputs={"json": BAD})), "structured_outputs"),
        (CHAT, json.loads(chat(response_format={"type": "json", "schema": BAD})), "response_format"),
    ],
)
def test_each_api_names_the_schema_that_is_none(client: httpx.Client, path: str, body: Any, key: str) -> None:
    answers(CALL)
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].startswith(key)


def test_arguments_may_refer_to_their_own_schema_by_its_id(client: httpx.Client) -> None:
    city = {"$id": "https://example.com/city", "type": "object", "properties": {"in": {"$ref": "#"}}}
    answers('[{"name": "weather", "arguments": {"in": {"in": {}}}}]')
    asked = chat(model="schemas", tools=[tool("weather", city)], tool_choice="required")
    assert post(client, CHAT, asked).json()["choices"][0]["finish_reason"] == "tool_calls"


def test_a_guided_model_that_never_stops_calling_is_stopped(client: httpx.Client) -> None:
    answers(*[f"{CALL}\n"] * 40)
    whole = post(client, CHAT, chat(tools=[STRICT], tool_choice="required")).json()["choices"][0]
    assert (len(whole["message"]["tool_calls"]), whole["finish_reason"]) == (32, "tool_calls")
    answers(*[f"{CALL}\n"] * 4)
    one = post(client, CHAT, chat(tools=[STRICT], parallel_tool_calls=False)).json()["choices"][0]
    assert (len(one["message"]["tool_calls"]), one["finish_reason"]) == (1, "tool_calls")


def test_schemas_that_are_too_long_for_a_guide_are_rejected(client: httpx.Client) -> None:
    long = tool("weather", {**CITY, "description": "x" * 70_000}, strict=True)
    assert refusal(post(client, CHAT, chat(tools=[long])))["param"] == "tools"
    assert refusal(post(client, CHAT, chat(tools=[long], tool_choice="required")))["param"] == "tool_choice"
