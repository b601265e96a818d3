"""`functions` and `function_call`, which older clients of OpenAI still send: taken as tools, answered in their form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from openai import OpenAI

from gateway.answers.calls.tools import Tool, Tools
from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat, completion, post, refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import serving

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
BACKEND = ScriptedBackend(cards={"demo": replace(CARD, tool_parser="hermes", guides=("json_schema",)), "mute": CARD})
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Any = {"name": "weather", "description": "The weather.", "parameters": SCHEMA}
OTHER: Any = {"name": "time", "parameters": SCHEMA}


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with (
        serving(BACKEND) as gateway,
        OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def http(client: OpenAI) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=str(client.base_url).removesuffix("/v1/")) as http:
        yield http


@pytest.fixture(autouse=True)
def calls() -> None:
    BACKEND.script = (delta("I will look. "), delta(CALL[:30]), delta(CALL[30:] + CALL, "stop", 9))


def ask(client: OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "demo", "messages": [HELLO], "functions": [FUNCTION], **fields})


def sent() -> tuple[Tools | None, Any]:
    """What the last answer may call, and its prompt."""
    generation = BACKEND.generations[-1]
    prompt = json.loads(generation.prompt.json)  # type: ignore[union-attr]
    return generation.parsing.tools if generation.parsing else None, prompt


def test_a_call_is_the_function_call_of_the_message(client: OpenAI) -> None:
    [choice] = ask(client).choices
    assert choice.finish_reason == "function_call"
    assert (choice.message.content, choice.message.tool_calls) == ("I will look.", None)
    assert choice.message.function_call.name == "weather"
    assert json.loads(choice.message.function_call.arguments) == {"city": "Bonn"}
    tools, prompt = sent()
    assert tools == Tools((Tool("weather", SCHEMA),), "auto", parallel=False)
    assert prompt["tools"] == [{"type": "function", "function": FUNCTION}]


def test_a_streamed_call_begins_with_its_name_and_its_arguments_follow_in_parts(client: OpenAI) -> None:
    chunks = [chunk.choices[0] for chunk in ask(client, stream=True)]
    parts = [chunk.delta.function_call for chunk in chunks if chunk.delta.function_call]
    assert [part.name for part in parts] == ["weather"] + [None] * (len(parts) - 1)
    assert json.loads("".join(part.arguments for part in parts)) == {"city": "Bonn"}
    assert not any(chunk.delta.tool_calls for chunk in chunks)
    assert chunks[-1].finish_reason == "function_call"


def test_an_answer_without_a_call_is_text(client: OpenAI) -> None:
    BACKEND.script = (delta("Hello.", "stop"),)
    [choice] = ask(client).choices
    assert (choice.finish_reason, choice.message.content) == ("stop", "Hello.")
    assert "function_call" not in choice.message.model_dump(exclude_unset=True)


def test_a_function_may_be_chosen_by_its_name_or_forbidden(client: OpenAI) -> None:
    ask(client, functions=[FUNCTION, OTHER], function_call="none")
    assert sent()[0] is None
    assert sent()[1]["tools"] is None
    BACKEND.script = (delta('[{"name": "time", "arguments": {"city": "Bonn"}}]', "stop"),)
    [choice] = ask(client, functions=[FUNCTION, OTHER], function_call={"name": "time"}).choices
    tools, _ = sent()
    assert tools == Tools((Tool("time", SCHEMA),), "required", parallel=False)
    assert (choice.finish_reason, choice.message.function_call.name) == ("function_call", "time")


def test_earlier_calls_and_their_results_are_the_models_own(client: OpenAI) -> None:
    earlier: list[Any] = [
        HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
        {"role": "function", "name": "weather", "content": "Rain."},
    ]
    ask(client, messages=earlier)
    _, call, result = sent()[1]["messages"]
    function = {"name": "weather", "arguments": '{"city": "Bonn"}'}
    assert call == {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
    assert result == {"role": "tool", "content": "Rain.", "name": "weather"}
    dumped = ask(client).choices[0].message.model_dump()  # with every field of the client's type, null or not
    ask(client, messages=[HELLO, dumped, earlier[-1]], functions=[])
    assert "function_call" not in sent()[1]["messages"][1]
    assert sent()[1]["messages"][1]["tool_calls"][0]["function"]["name"] == "weather"


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"functions": [FUNCTION, FUNCTION]}, "functions", "two functions have the name weather"),
        ({"functions": [{"name": "a b"}]}, "functions", "functions.0.name"),
        ({"functions": [{**FUNCTION, "parameters": {"type": "array"}}]}, "functions", "schema of an object"),
        ({"functions": [FUNCTION], "tools": [{"type": "function", "function": OTHER}]}, "functions", "together with"),
        ({"functions": [FUNCTION], "function_call": {"name": "x"}}, "function_call", "no function of this name"),
        ({"function_call": {"name": "weather"}}, "function_call", "no function of this name"),
        ({"functions": [FUNCTION], "function_call": "required"}, "function_call", "must be none, auto or"),
        ({"functions": [FUNCTION], "model": "mute"}, "functions", "has no parser of tool calls"),
    ],
)
def test_what_cannot_be_called_is_rejected_by_the_name_that_was_sent(
    http: httpx.Client, fields: dict[str, Any], param: str, message: str
) -> None:
    error = refusal(post(http, CHAT, chat(**fields)))
    assert error["param"] == param
    assert message in error["message"]


def test_a_completion_takes_no_functions(http: httpx.Client) -> None:
    for name, value in (("functions", [FUNCTION]), ("function_call", {"name": "weather"})):
        error = refusal(post(http, COMPLETIONS, completion(**{name: value})))
        assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert post(http, COMPLETIONS, completion(functions=[], function_call="auto")).status_code == 200
