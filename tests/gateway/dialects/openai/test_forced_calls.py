"""Calls that are required: the guide that the engine gets, and the answer that it lets through."""

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

ANSWER = '[{"name": "weather", "arguments": {"city": "Bonn"}}, {"name": "now", "arguments": {}}]'
CARDS = {
    "demo": replace(CARD, tool_parser="hermes", guides=("json", "json_schema")),
    "mute": replace(CARD, guides=("json_schema",)),
    "free": replace(CARD, tool_parser="hermes", unsupported=("guided_decoding_guide_type", "guided_decoding_guide")),
}
BACKEND = ScriptedBackend((delta(ANSWER[:20]), delta(ANSWER[20:], "stop", 9)), cards=CARDS)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}, "same": {"$ref": "#"}},
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
}


# What looks like a reference, where a schema has values and names of its own.
QUOTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "const": {"$ref": "#"},
        "kept": {"const": {"$ref": "#", "$id": "a"}, "default": {"$ref": "#/a"}, "examples": [{"$ref": "#"}]},
        "one": {"enum": [{"$ref": "#/$defs/x"}, "#"]},
    },
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("weather", CITY), tool("now")]


def guide(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """Of the request, whatever comes of the answer: it is always the same, and need not match."""
    assert post(client, CHAT, chat(**{"tools": TOOLS, **fields})).status_code in (200, 502)
    sampling = BACKEND.generations[-1].sampling
    assert sampling.guided_decoding_guide_type == "json_schema"
    schema: dict[str, Any] = json.loads(sampling.guided_decoding_guide or "")
    return schema


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": name}, "arguments": arguments}
    required = ["name", "arguments"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}


def test_required_calls_are_a_list_of_some_of_the_tools(client: httpx.Client) -> None:
    schema = guide(client, tool_choice="required")
    assert schema["items"] == {"anyOf": [call("weather", CITY), call("now", NOTHING)]}
    assert (schema["type"], schema["minItems"]) == ("array", 1)
    assert schema["maxItems"] > 1
    assert guide(client, tool_choice="required", parallel_tool_calls=False)["maxItems"] == 1


def test_a_function_that_is_named_is_the_only_one_and_called_once(client: httpx.Client) -> None:
    schema = guide(client, tool_choice={"type": "function", "function": {"name": "weather"}})
    assert (schema["items"], schema["maxItems"]) == (call("weather", CITY), 1)
    reference = {"type": "function", "function": {"name": "now"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [reference]}}
    assert guide(client, tool_choice=allowed)["items"] == call("now", NOTHING)


def test_references_within_the_schema_of_a_tool_still_lead_there(client: httpx.Client) -> None:
    schema = guide(client, tools=[tool("plant", TREE), *TOOLS], tool_choice="required")
    assert schema["items"]["anyOf"][0] == call("plant", {"$ref": "#/$defs/plant"})
    moved = schema["$defs"]["plant"]
    assert moved["properties"] == {"root": {"$ref": "#/$defs/plant/$defs/node"}, "same": {"$ref": "#/$defs/plant"}}
    assert moved["$defs"]["node"]["properties"]["next"] == {"$ref": "#/$defs/plant/$defs/node"}


def test_values_within_a_schema_stay_as_they_are_and_properties_may_be_called_like_keywords(
    client: httpx.Client,
) -> None:
    moved = guide(client, tools=[tool("plant", QUOTED)], tool_choice="required")["$defs"]["plant"]["properties"]
    assert moved == {**QUOTED["properties"], "const": {"$ref": "#/$defs/plant"}}


@pytest.mark.parametrize("model", ["demo", "mute"])
def test_the_calls_are_answered_whatever_the_models_own_format(client: httpx.Client, model: str) -> None:
    body = chat(model=model, tools=TOOLS, tool_choice="required")
    whole = post(client, CHAT, body).json()["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == (None, "tool_calls")
    found = [(one["function"]["name"], one["function"]["arguments"]) for one in whole["message"]["tool_calls"]]
    assert found == [("weather", '{"city": "Bonn"}'), ("now", "{}")]


def test_an_engine_that_follows_no_schemas_rejects_what_it_cannot_do(client: httpx.Client) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "now"}}):
        error = refusal(post(client, CHAT, chat(model="free", tools=TOOLS, tool_choice=choice)))
        assert (error["param"], error["code"]) == ("tool_choice", "unsupported_parameter")
    assert post(client, CHAT, chat(model="free", tools=TOOLS)).status_code == 200


def test_calls_beside_a_form_are_either_one_or_the_other(client: httpx.Client) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": TREE}}
    schema = guide(client, response_format=form)
    assert schema["anyOf"][0] == {"$ref": "#/$defs/!form"}
    assert schema["anyOf"][1]["items"] == {"anyOf": [call("weather", CITY), call("now", NOTHING)]}
    assert schema["$defs"]["!form"]["properties"]["root"] == {"$ref": "#/$defs/!form/$defs/node"}
    assert guide(client, response_format={"type": "json_object"})["$defs"] == {"!form": {"type": "object"}}
    whole = post(client, CHAT, chat(tools=TOOLS, response_format=form)).json()["choices"][0]
    assert len(whole["message"]["tool_calls"]) == 2
    error = refusal(post(client, CHAT, chat(tools=TOOLS, regex="a+")))
    assert error["param"] == "tools"
    assert guide(client, tool_choice="required", response_format=form)["type"] == "array", "there is no text then"


def test_schemas_that_are_too_long_for_a_guide_are_rejected(client: httpx.Client) -> None:
    long = tool("weather", {**CITY, "description": "x" * 70_000})
    error = refusal(post(client, CHAT, chat(tools=[long], tool_choice="required")))
    assert (error["param"], "at most 65536" in error["message"]) == ("tool_choice", True)
