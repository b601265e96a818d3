"""Tools of a chat: what a request may offer and demand, and what the model and the client are told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.answers.calls.tools import Tool, Tools
from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat, completion, post, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
CALLING = replace(CARD, tool_parser="hermes")
BACKEND = ScriptedBackend(
    (delta("I will look. "), delta(CALL[:30]), delta(CALL[30:], "stop", 9)), cards={"demo": CALLING, "mute": CARD}
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def tool(name: str = "weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **fields}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


def asked(client: httpx.Client, **fields: Any) -> tuple[Tools | None, list[str]]:
    """What the answer may call, and the names of the tools that the prompt lists."""
    assert post(client, CHAT, chat(**fields)).status_code == 200
    generation = BACKEND.generations[-1]
    prompt = json.loads(generation.prompt.json)  # type: ignore[union-attr]
    tools = generation.parsing.tools if generation.parsing else None
    return tools, [one["function"]["name"] for one in prompt["tools"] or []]


def test_a_call_is_answered_as_openai_answers_it_whole_and_streamed(client: httpx.Client) -> None:
    whole = post(client, CHAT, chat(tools=[tool()])).json()["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] == "I will look."
    [call] = whole["message"]["tool_calls"]
    assert (call["type"], call["function"]) == ("function", {"name": "weather", "arguments": '{"city": "Bonn"}'})
    assert call["id"].startswith("call_")
    events = post(client, CHAT, chat(tools=[tool()], stream=True)).text.split("\n\n")[:-2]
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "I will look."
    parts = [part for choice in choices for part in choice["delta"].get("tool_calls", [])]
    assert [part.get("id") is not None for part in parts] == [True, *[False] * (len(parts) - 1)]
    assert "".join(part["function"]["arguments"] for part in parts) == '{"city": "Bonn"}'
    assert [choice["finish_reason"] for choice in choices][-1] == "tool_calls"


def test_the_calls_of_several_choices_have_ids_of_their_own(client: httpx.Client) -> None:
    choices = post(client, CHAT, chat(tools=[tool()], n=3)).json()["choices"]
    assert len({choice["message"]["tool_calls"][0]["id"] for choice in choices}) == 3


def test_the_prompt_lists_tools_with_all_that_templates_print(client: httpx.Client) -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    post(client, CHAT, chat(tools=[tool(description="Tells the weather."), bare]))
    prompt = json.loads(BACKEND.generations[-1].prompt.json)  # type: ignore[union-attr]
    assert [one["function"] for one in prompt["tools"]] == [
        {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
        {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
    ]


def test_a_choice_decides_what_is_listed_and_what_may_be_called(client: httpx.Client) -> None:
    tools = [tool("weather", strict=True), tool("time")]
    weather, time = Tool("weather", SCHEMA, strict=True), Tool("time", SCHEMA)
    assert asked(client, tools=tools) == (Tools((weather, time)), ["weather", "time"])
    assert asked(client, tools=tools, tool_choice="auto") == (Tools((weather, time)), ["weather", "time"])
    assert asked(client, tools=tools, tool_choice="none") == (None, [])
    assert asked(client, tools=tools, tool_choice=allowed("auto", "time")) == (Tools((time,)), ["time"])
    assert asked(client, tools=tools, parallel_tool_calls=False)[0] == Tools((weather, time), parallel=False)
    assert asked(client, tools=[], tool_choice="auto") == (None, [])
    assert asked(client, tools=None, tool_choice="none") == (None, [])


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"tools": [tool("a b")]}, "tools", "tools.0.function.name = 'a b'"),
        ({"tools": [tool("")]}, "tools", "tools.0.function.name"),
        ({"tools": [tool("x" * 129)]}, "tools", "tools.0.function.name"),
        ({"tools": [{"type": "function"}]}, "tools", "tools.0.function: a value is required"),
        ({"tools": [tool("a"), tool("a")]}, "tools", "two functions have the name a"),
        ({"tools": [tool(f"f{number}") for number in range(129)]}, "tools", "at most 128"),
        ({"tools": [tool(description="x" * 300_000)]}, "tools", "at most 262144 bytes"),
        ({"tools": [tool(parameters={"type": "string"})]}, "tools", "must be the JSON schema of an object"),
        ({"tools": [tool(parameters={"properties": []})]}, "tools", "`properties` must be an object"),
        ({"tools": [tool(parameters=[1])]}, "tools", "tools.0.function.parameters"),
        ({"tools": {}}, "tools", "tools = {}"),
        ({"tools": [tool()], "tool_choice": "any"}, "tool_choice", "must be none, auto, required"),
        ({"tools": [tool()], "tool_choice": named("time")}, "tool_choice", "there is no tool 'time' in tools"),
        ({"tools": [tool()], "tool_choice": allowed("auto", "time")}, "tool_choice", "there is no tool 'time'"),
        ({"tools": [tool()], "tool_choice": allowed("auto")}, "tool_choice", "must be none, auto, required"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools to choose from"),
        ({"tools": [], "tool_choice": named("f")}, "tool_choice", "there are no tools to choose from"),
        ({"tools": [tool()], "parallel_tool_calls": "no"}, "parallel_tool_calls", "parallel_tool_calls = 'no'"),
    ],
)
def test_what_is_not_allowed_is_rejected_by_name(
    client: httpx.Client, fields: dict[str, Any], param: str, message: str
) -> None:
    error = refusal(post(client, CHAT, chat(**fields)))
    assert error["param"] == param
    assert message in error["message"]


def test_a_schema_that_is_nested_too_deeply_is_rejected(client: httpx.Client) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(40):
        schema = {"type": "object", "properties": {"a": schema}}
    assert "no deeper than 64" in refusal(post(client, CHAT, chat(tools=[tool(parameters=schema)])))["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search", "function": {"name": "f"}}]}, "tools"),
    ],
)
def test_other_kinds_of_tools_are_not_supported(client: httpx.Client, fields: dict[str, Any], param: str) -> None:
    error = refusal(post(client, CHAT, chat(**fields)))
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")


def test_a_completion_takes_no_tools(client: httpx.Client) -> None:
    for fields in ({"tools": [tool()]}, {"tool_choice": "required"}):
        error = refusal(post(client, COMPLETIONS, completion(**fields)))
        assert (error["param"], error["code"]) == (next(iter(fields)), "unsupported_parameter")


def test_a_model_without_a_parser_of_calls_is_offered_no_tools(client: httpx.Client) -> None:
    error = refusal(post(client, CHAT, chat(model="mute", tools=[tool()])))
    assert (error["param"], error["code"]) == ("tools", "unsupported_parameter")
    assert "serve.tool_parser" in error["message"]
    assert post(client, CHAT, chat(model="mute", tools=[tool()], tool_choice="none")).status_code == 200


def history(*messages: dict[str, Any]) -> bytes:
    return chat(messages=[HELLO, *messages, HELLO], tools=[tool()])


def seen(client: httpx.Client, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages in the prompt."""
    response = post(client, CHAT, history(*messages))
    assert response.status_code == 200, response.text
    prompt: dict[str, Any] = json.loads(BACKEND.generations[-1].prompt.json)  # type: ignore[union-attr]
    return [*prompt["messages"][1:-1]]


def test_the_history_of_other_servers_is_taken(client: httpx.Client) -> None:
    function = {"name": "weather", "arguments": {"city": "Bonn"}}
    [answer, result] = seen(
        client,
        {"role": "assistant", "content": [], "tool_calls": [{"id": None, "function": function}]},
        {
            "role": "tool",
            "content": [{"type": "text", "text": "7 "}, {"type": "text", "text": "°C"}],
            "name": "weather",
        },
    )
    assert answer["content"] == ""
    assert answer["tool_calls"] == [{"type": "function", "function": function}]
    assert (result["content"], result["name"]) == ("7 °C", "weather")
    [_, result] = seen(
        client,
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "now"}}]},
        {"role": "tool", "tool_call_id": "a", "content": None},
    )
    assert result == {"role": "tool", "tool_call_id": "a", "content": ""}


@pytest.mark.parametrize(
    "fields",
    [{"reasoning_content": "so"}, {"reasoning": "so"}, {"reasoning": "so", "reasoning_content": "so"}],
)
def test_reasoning_of_earlier_answers_reaches_the_template_under_one_name(
    client: httpx.Client, fields: dict[str, str]
) -> None:
    [answer] = seen(client, {"role": "assistant", "content": "Yes.", **fields})
    assert answer == {"role": "assistant", "content": "Yes.", "reasoning_content": "so"}
