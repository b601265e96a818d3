"""Custom tools, whose input is free text, and tools that other servers run: by OpenAI's own client, in both APIs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.bodies import refusal
from tests.gateway.scripted_backend import CARD, ScriptedBackend, delta
from tests.gateway.server import Running

PATCH = '*** Begin Patch\n+print("é\\n")\n*** End Patch'
CALL = json.dumps({"name": "apply", "arguments": {"input": PATCH}})
SCRIPT = (*map(delta, f"<tool_call>\n{CALL}\n</tool_call>"), delta("", "stop", 200))
REGEX = {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"}
LARK = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
FLAT: Any = {"type": "custom", "name": "apply", "description": "Applies a patch."}
NESTED: Any = {"type": "custom", "custom": {"name": "apply", "description": "Applies a patch."}}
FUNCTION: Any = {"type": "function", "name": "now", "parameters": None, "strict": False}
GUIDED = ("json", "json_schema", "structural_tag")


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    card = replace(CARD, tool_parser="hermes")
    return ScriptedBackend(SCRIPT, cards={"demo": card, "guided": replace(card, guides=GUIDED)})


@pytest.fixture(scope="module")
def plain(gateway: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url) as plain:
        yield plain


def told(backend: ScriptedBackend) -> Any:
    return json.loads(backend.generations[-1].prompt.json)  # type: ignore[union-attr]


def test_a_chat_calls_a_custom_tool_whole_and_streamed(client: openai.OpenAI, backend: ScriptedBackend) -> None:
    asked: Any = {"model": "demo", "messages": [{"role": "user", "content": "Do it."}], "tools": [NESTED]}
    [call] = client.chat.completions.create(**asked).choices[0].message.tool_calls
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "apply", PATCH)
    parts = [
        part.to_dict()
        for chunk in client.chat.completions.create(**asked, stream=True)
        for part in chunk.choices[0].delta.tool_calls or []
    ]
    assert (parts[0]["type"], parts[0]["custom"]["name"]) == ("custom", "apply")
    assert len(parts) > 10
    assert "".join(part["custom"]["input"] for part in parts) == PATCH
    again = {"role": "assistant", "tool_calls": [call.to_dict()]}
    output = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    client.chat.completions.create(**{**asked, "messages": [*asked["messages"], again, output]})
    [said] = told(backend)["messages"][1]["tool_calls"]
    assert json.loads(said["function"]["arguments"]) == {"input": PATCH}


def test_a_response_calls_a_custom_tool_whole_and_streamed(client: openai.OpenAI, backend: ScriptedBackend) -> None:
    asked: Any = {"model": "demo", "input": "Do it.", "tools": [FLAT]}
    response = client.responses.create(**asked)
    [call] = response.output
    assert (call.type, call.name, call.input) == ("custom_tool_call", "apply", PATCH)
    assert response.tools[0].to_dict() == {**FLAT, "format": {"type": "text"}}
    with client.responses.stream(**asked) as stream:
        events = [*stream]
    types = list(dict.fromkeys(event.type for event in events))
    assert types[2:6] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
    ]
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == PATCH
    output: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
    client.responses.create(model="demo", input=[output], previous_response_id=response.id, tools=[FLAT])
    _, said, tool = told(backend)["messages"]
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"input": PATCH}
    assert (tool["role"], tool["content"]) == ("tool", "done")


def test_the_model_reads_of_a_custom_tool_and_of_its_grammar(plain: httpx.Client, backend: ScriptedBackend) -> None:
    for format, named in ((REGEX, None), (LARK, "tools.format.lark")):
        answer = plain.post(
            "/v1/responses", json={"model": "demo", "input": "x", "tools": [{**FLAT, "format": format}]}
        )
        assert answer.json()["tools"][0]["format"] == format
        assert answer.headers.get("x-ignored-parameters") == named
        function = told(backend)["tools"][0]["function"]
        assert function["description"].startswith("Applies a patch.")
        assert format["definition"] in function["description"]


@pytest.mark.parametrize("model", ["demo", "guided"])
def test_a_call_that_must_match_a_lark_grammar_is_rejected(plain: httpx.Client, model: str) -> None:
    name = {"type": "custom", "name": "apply"}
    body = {"model": model, "input": "x", "tools": [{**FLAT, "format": LARK}, FUNCTION]}
    for choice in ("required", name, {"type": "allowed_tools", "mode": "required", "tools": [name]}):
        error = refusal(plain.post("/v1/responses", json={**body, "tool_choice": choice}))
        assert (error["param"], error["code"]) == ("tool_choice", "unsupported_parameter")
        assert "Lark grammar" in error["message"]
    other = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]}
    assert "Lark" not in plain.post("/v1/responses", json={**body, "tool_choice": other}).text


def test_a_regular_expression_is_enforced_as_a_strict_function_is(
    plain: httpx.Client, backend: ScriptedBackend
) -> None:
    body = {"model": "guided", "input": "x", "tools": [{**FLAT, "format": REGEX}]}
    for choice in ("auto", "required", {"type": "custom", "name": "apply"}):
        plain.post("/v1/responses", json={**body, "tool_choice": choice})
        guide = backend.generations[-1].sampling.guide
        assert guide is not None
        assert "^(?:[0-9]+)$" in (guide.text or "")


@pytest.mark.parametrize("model", ["demo", "guided"])
@pytest.mark.parametrize("definition", ["((", "(?=a)b", r"(a)\1"])
def test_a_regular_expression_that_no_answer_could_be_checked_with_is_rejected(
    plain: httpx.Client, model: str, definition: str
) -> None:
    tools = [{**FLAT, "format": {**REGEX, "definition": definition}}]
    answer = plain.post("/v1/responses", json={"model": model, "input": "x", "tools": tools})
    assert answer.status_code == 400, answer.text
    assert "definition must be a regular expression" in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "tools"


@pytest.mark.parametrize("type", ["web_search", "web_search_2025_08_26", "mcp", "code_interpreter", "namespace"])
def test_tools_that_this_server_does_not_run_are_dropped_and_named(
    plain: httpx.Client, backend: ScriptedBackend, type: str
) -> None:
    body = {"model": "demo", "input": "x", "tools": [FUNCTION, {"type": type, "search_context_size": "low"}]}
    answer = plain.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ignored-parameters"] == f"tools.{type}"
    assert [tool["name"] for tool in answer.json()["tools"]] == ["now"]
    assert [tool["function"]["name"] for tool in told(backend)["tools"]] == ["now"]
    strict = plain.post("/v1/responses", json=body, headers={"prefer": "handling=strict"})
    assert (strict.status_code, strict.json()["error"]["param"]) == (400, f"tools.{type}")
    alone = plain.post("/v1/responses", json={**body, "tools": body["tools"][1:]})
    assert (alone.status_code, alone.json()["tools"]) == (200, [])


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "web_search"},
        {"type": "mcp", "server_label": "x"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
        {"type": "custom", "name": "none"},
        {"type": "custom"},
    ],
)
def test_a_choice_of_a_tool_that_cannot_be_called_is_rejected(plain: httpx.Client, choice: dict[str, Any]) -> None:
    body = {"model": "demo", "input": "x", "tools": [FUNCTION, {"type": "web_search"}], "tool_choice": choice}
    answer = plain.post("/v1/responses", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tool_choice")


def test_required_needs_a_tool_that_can_be_called(plain: httpx.Client) -> None:
    body = {"model": "demo", "input": "x", "tools": [{"type": "web_search"}], "tool_choice": "required"}
    answer = plain.post("/v1/responses", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tool_choice")
