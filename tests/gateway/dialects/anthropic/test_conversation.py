"""Anthropic's messages as chat templates read them: OpenAI's roles, results right after calls, roles that alternate."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.answers.backend import Chat
from gateway.dialects.anthropic.messages import Messages
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter

HELLO = {"role": "user", "content": "Hello"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}}
CALLED = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}


def prompt(**fields: Any) -> dict[str, Any]:
    call = Messages().parse({"model": "demo", "max_tokens": 9, "messages": [HELLO], **fields})
    [chat] = call.request.prompts
    assert isinstance(chat, Chat)
    parsed: dict[str, Any] = orjson.loads(chat.json)
    return parsed


def turns(*messages: Any, **fields: Any) -> list[Any]:
    of_prompt: list[Any] = prompt(messages=list(messages), **fields)["messages"]
    return of_prompt


def result(content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **fields}


def result_text(content: Any, **fields: Any) -> str:
    _, _, tool = turns(
        HELLO, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [result(content, **fields)]}
    )
    assert (tool["role"], tool["tool_call_id"], tool["name"]) == ("tool", "toolu_1", "weather")
    return str(tool["content"])


def test_blocks_of_text_are_joined_and_the_system_prompt_comes_first() -> None:
    parts = [
        {"type": "text", "text": "What is", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": " it?"},
    ]
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": " Be kind."}]
    assert turns({"role": "user", "content": parts}, system=system) == [
        {"role": "system", "content": "Be brief. Be kind."},
        {"role": "user", "content": "What is it?"},
    ]
    assert turns(HELLO, system="Be brief.")[0] == {"role": "system", "content": "Be brief."}


def test_calls_and_results_become_openais() -> None:
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, CALL]}
    asked = {"role": "user", "content": [{"type": "text", "text": "And now?"}, result("Sunny")]}
    assert turns(HELLO, answer, asked) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "toolu_1", "name": "weather", "content": "Sunny"},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    ("content", "fields", "text"),
    [
        ("Sunny", {}, "Sunny"),
        (None, {}, ""),
        ([], {}, ""),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], {}, "one\ntwo"),
        ("no such city", {"is_error": True}, "Error: no such city"),
        ([{"type": "tool_reference", "tool_name": "weather"}], {}, "weather"),
        ([{"type": "document", "source": {"type": "text", "data": "a page"}, "title": "A"}], {}, "A\na page"),
        (
            [{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}],
            {},
            "t\ns\nx",
        ),
    ],
)
def test_results_of_tools_have_a_text(content: Any, fields: dict[str, Any], text: str) -> None:
    assert result_text(content, **fields) == text


def test_thinking_comes_back_to_the_template_and_redacted_thinking_does_not() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm. ", "signature": "s"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "thinking", "thinking": "Yes.", "signature": ""},
        {"type": "text", "text": "Yes"},
    ]
    assert turns(HELLO, {"role": "assistant", "content": blocks}, HELLO)[1] == {
        "role": "assistant",
        "content": "Yes",
        "reasoning_content": "Hm. Yes.",
    }


def test_messages_of_one_role_in_a_row_become_one() -> None:
    answers = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": [CALL]}]
    results = [{"role": "user", "content": [result("1")]}, {"role": "user", "content": [result("2")]}]
    assert turns(HELLO, HELLO, *answers, *results, HELLO, HELLO) == [
        {"role": "user", "content": "Hello\n\nHello"},
        {"role": "assistant", "content": "a", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "toolu_1", "name": "weather", "content": "1"},
        {"role": "tool", "tool_call_id": "toolu_1", "name": "weather", "content": "2"},
        {"role": "user", "content": "Hello\n\nHello"},
    ]


def test_system_messages_lead_or_are_reminders_in_a_users_turn() -> None:
    first, later = (
        {"role": "system", "content": "First."},
        {"role": "system", "content": [{"type": "text", "text": "Later."}]},
    )
    assert turns(first, HELLO, later, system="Top.") == [
        {"role": "system", "content": "Top.First."},
        {"role": "user", "content": "Hello\n\n<system-reminder>\nLater.\n</system-reminder>"},
    ]


def test_an_attribution_that_changes_with_each_request_is_no_part_of_the_prompt() -> None:
    attribution = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.160.bca; cch=d1d48;"}
    system = [attribution, {"type": "text", "text": "Be brief."}]
    later = {"role": "system", "content": [attribution]}
    assert turns(HELLO, later, system=system) == [{"role": "system", "content": "Be brief."}, HELLO]


def test_tools_are_offered_in_openais_form() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "weather", "input_schema": schema, "cache_control": {"type": "ephemeral"}, "defer_loading": True}
    function = {"name": "weather", "description": "", "parameters": schema}
    assert prompt(tools=[tool])["tools"] == [{"type": "function", "function": function}]
    assert prompt(tools=[tool], tool_choice={"type": "none"})["tools"] is None


@pytest.mark.parametrize(
    ("choice", "mode", "names", "parallel"),
    [
        (None, "auto", ["a", "b"], True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", ["a", "b"], False),
        ({"type": "any"}, "required", ["a", "b"], True),
        ({"type": "tool", "name": "b"}, "required", ["b"], True),
    ],
)
def test_a_choice_of_tools_says_what_may_be_called(choice: Any, mode: str, names: list[str], parallel: bool) -> None:
    offered = [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b")]
    fields = {"model": "demo", "max_tokens": 9, "messages": [HELLO], "tools": offered, "tool_choice": choice}
    tools = Messages().parse(fields).request.tools
    assert tools is not None
    assert (tools.choice, [tool.name for tool in tools.tools], tools.parallel) == (mode, names, parallel)


@pytest.mark.parametrize(
    ("fields", "effort", "arguments"),
    [
        ({}, None, {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, None, {"enable_thinking": True}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low", {"enable_thinking": True}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, None, {"enable_thinking": False}),
        ({"output_config": {"effort": "xhigh"}, "chat_template_kwargs": {"a": 1}}, "xhigh", {"a": 1}),
    ],
)
def test_thinking_and_effort_say_how_much_is_to_be_reasoned(
    fields: dict[str, Any], effort: str | None, arguments: dict[str, Any]
) -> None:
    call = Messages().parse({"model": "demo", "max_tokens": 9, "messages": [HELLO], **fields})
    assert call.request.effort == effort
    assert prompt(**fields)["template_arguments"] == arguments


def test_a_schema_of_the_answer_is_a_guide() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    config = {"format": {"type": "json_schema", "schema": schema}}
    call = Messages().parse({"model": "demo", "max_tokens": 9, "messages": [HELLO], "output_config": config})
    sampling = call.request.sampling
    assert sampling.guided_decoding_guide_type == "json_schema"
    assert orjson.loads(sampling.guided_decoding_guide or "") == schema
    assert call.sent_as["guided_decoding_guide"] == "output_config"


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


@pytest.mark.parametrize(
    ("content", "place", "kind"),
    [
        ([IMAGE], "messages.0.content.0.type", "image"),
        ([result([{"type": "text", "text": "a"}, IMAGE])], "messages.0.content.0.content.1.type", "image"),
        (
            [{"type": "document", "source": {"type": "base64", "data": "JVBE"}}],
            "messages.0.content.0.source.type",
            "base64",
        ),
        (
            [{"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}],
            "messages.0.content.0.type",
            "server_tool_use",
        ),
    ],
)
def test_what_is_no_text_is_rejected_by_its_type(content: Any, place: str, kind: str) -> None:
    with pytest.raises(UnsupportedParameter, match=rf"^{place}: blocks of type {kind} are not supported"):
        turns({"role": "user", "content": content})


@pytest.mark.parametrize(
    "tool",
    [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}, {"type": "bash_20250124", "name": "bash"}],
)
def test_tools_without_a_schema_of_their_own_are_rejected_by_their_type(tool: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter, match=rf"^tools.0.type: tools of type {tool['type']} are not supported"):
        prompt(tools=[tool])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "^messages = "),
        ({"messages": [HELLO, {"role": "assistant", "content": "He"}]}, "^messages: the last message"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "must be an object whose role is user, assistant or"),
        ({"messages": ["x"]}, "must be an object whose role is user, assistant or system"),
        (
            {"messages": [{"role": "user", "content": ["x"]}]},
            "^messages.0.content.0 = 'x': must be an object with a \"type\"",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "^messages.0.content.0.tool_use_id: a",
        ),
        ({"max_tokens": 0}, "^max_tokens = 0"),
        ({"max_tokens": None}, "^max_tokens = None"),
        ({"tool_choice": {"type": "any"}}, "^tool_choice: there are no tools"),
        ({"tools": [{"name": "a", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "b"}}, "no tool 'b'"),
        ({"tools": [{"name": "a", "input_schema": {}}] * 2}, "two tools have the name a"),
        ({"mcp_servers": [{"type": "url"}]}, "^mcp_servers: this server does not support this parameter"),
        ({"temperature": 3.0}, "^temperature = 3.0"),
        ({"logprobs": 2}, "^logprobs = 2"),
    ],
)
def test_an_error_names_the_place_the_value_and_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        prompt(**fields)
