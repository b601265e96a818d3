"""Tools and earlier calls reach every kind of chat template in the form that it was written for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_repo.preprocess.chat_template import ChatTemplate
from triton_repo.preprocess.tool_history import HistoryFormat

_TURNS = "{% for m in messages %}{{ m.role }}: {{ m.content }}"
_TOOLS = "{{ tools | tojson }}" + _TURNS
_CALLS = "{% for c in m.tool_calls or [] %}"
_END = "{% endfor %}\n{% endfor %}"
OBJECT = _TOOLS + _CALLS + "{{ c.function.name }}{{ c.function.arguments | tojson }}" + _END  # Qwen, Llama, Hermes
ITEMS = _TOOLS + _CALLS + "{% for k, v in c.function.arguments.items() %}<{{ k }}={{ v }}>{% endfor %}" + _END
TEXT = _TOOLS + _CALLS + "{{ c.function.name + '```json\n' + c.function.arguments + '```' }}" + _END  # DeepSeek's
PRINTED = _TOOLS + _CALLS + "{{ c.function.arguments }}" + _END
EITHER = (
    _TOOLS + _CALLS + "{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}"
    "{{ c.function.arguments | tojson }}{% endif %}" + _END
)
SHORT_IDS = (
    _TOOLS + _CALLS + "{% if c.id | length != 9 %}{{ raise_exception('ids of length 9!') }}{% endif %}"
    "{{ c.function | tojson }}{{ c.id }}" + "{% endfor %}{{ m.tool_call_id }}\n{% endfor %}"
)  # Mistral's
IDS = (
    _TOOLS + _CALLS + "<{{ c.id }}>{{ c.function.arguments | tojson }}{% endfor %}<{{ m.tool_call_id }}>\n{% endfor %}"
)
NO_TOOLS = _TURNS + "\n{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)  # Gemma's and Llama 2's
TOOL = {"type": "function", "function": {"name": "weather", "description": "", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "a"}


def call(arguments: Any, id: str | None = "call_0123456789abcdef01234567") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def rendered(source: str, *messages: dict[str, Any], tools: Any = None) -> str:
    return ChatTemplate(source, {}).render({"messages": [*messages], "tools": tools}, 100_000)


@pytest.mark.parametrize(
    ("source", "format"),
    [
        (OBJECT, HistoryFormat()),
        (ITEMS, HistoryFormat()),
        (EITHER, HistoryFormat()),
        (IDS, HistoryFormat()),
        (TEXT, HistoryFormat(as_text=True)),
        (PRINTED, HistoryFormat(as_text=True)),
        (SHORT_IDS, HistoryFormat(short_ids=True)),
        (NO_TOOLS, None),
    ],
)
def test_what_a_template_reads_is_found_by_rendering_it(source: str, format: HistoryFormat | None) -> None:
    assert ChatTemplate(source, {}).history_format == format


@pytest.mark.parametrize("source", [OBJECT, TEXT, PRINTED, EITHER, SHORT_IDS])
@pytest.mark.parametrize("arguments", ['{"city": "Köln"}', {"city": "Köln"}])
def test_arguments_are_json_in_the_prompt_whether_they_come_as_text_or_as_an_object(
    source: str, arguments: Any
) -> None:
    text = rendered(source, USER, {"role": "assistant", "content": None, "tool_calls": [call(arguments)]})
    assert '{"city": "Köln"}' in text


@pytest.mark.parametrize("source", [OBJECT, TEXT])
@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
def test_a_call_without_arguments_has_an_empty_object(source: str, arguments: Any) -> None:
    text = rendered(source, USER, {"role": "assistant", "content": "", "tool_calls": [call(arguments)]})
    assert "{}" in text


def test_arguments_that_are_no_json_reach_the_template_as_they_are() -> None:
    text = rendered(PRINTED, USER, {"role": "assistant", "content": "", "tool_calls": [call('{"city": "Bo')]})
    assert '{"city": "Bo' in text


def test_calls_without_an_id_get_one_and_their_answers_the_same() -> None:
    text = rendered(
        IDS,
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call({}, None), call({}, None)]},
        {"role": "tool", "content": "x", "tool_call_id": None},
        {"role": "tool", "content": "y"},
        {"role": "assistant", "content": "", "tool_calls": [call({}, "own")]},
        {"role": "tool", "content": "z", "tool_call_id": "own"},
    )
    assert [line.partition("<")[2] for line in text.splitlines() if "<" in line][1:] == [
        "call_1>{}<call_2>{}<>",
        "call_1>",
        "call_2>",
        "own>{}<>",
        "own>",
    ]


def test_ids_of_other_servers_are_made_as_short_as_a_template_wants_and_still_belong_together() -> None:
    text = rendered(
        SHORT_IDS,
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call({}), call({}, "abcdefghi")]},
        {"role": "tool", "content": "x", "tool_call_id": "call_0123456789abcdef01234567"},
        {"role": "tool", "content": "y", "tool_call_id": "abcdefghi"},
    )
    asked, first, second = text.splitlines()[1:]
    id = first.removeprefix("tool: x")
    assert len(id) == 9
    assert id.isalnum()
    assert f"{id}{{" in asked
    assert second == "tool: yabcdefghi"


def test_a_template_without_tools_is_told_them_in_words() -> None:
    asked = {"role": "assistant", "content": "I look.", "tool_calls": [call('{"city": "Bonn"}')]}
    answered = {"role": "tool", "content": "7 °C", "tool_call_id": "x"}
    text = rendered(NO_TOOLS, {"role": "system", "content": "Be brief."}, USER, asked, answered, USER, tools=[TOOL])
    assert text.startswith("system: Be brief.\n\nYou can call functions.")
    assert json.dumps(TOOL) in text
    assert text.endswith(
        'assistant: I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>\n'
        "user: <tool_response>\n7 °C\n</tool_response>\na\n"
    )
    assert rendered(NO_TOOLS, USER, asked, answered).count("<tool_call>") == 1, "calls are told without tools too"
    assert rendered(NO_TOOLS, USER) == "user: a\n", "and nothing is added to other chats"


def test_a_template_without_tools_and_without_a_system_message_is_told_them_by_the_user() -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [call({})]}
    text = rendered(NO_SYSTEM, USER, asked, {"role": "tool", "content": "7"}, tools=[TOOL])
    assert text.startswith("user: You can call functions.")
    assert "need none of them.\n\na\nassistant: <tool_call>" in text


def test_reasoning_of_earlier_answers_has_the_name_that_the_template_reads() -> None:
    answer = {"role": "assistant", "content": "Yes.", "reasoning_content": "so"}
    for name in ("reasoning_content", "reasoning", "thinking"):
        source = "{% for m in messages %}{{ m." + name + " }}{{ m.content }}{% endfor %}"
        assert rendered(source, USER, answer) == "asoYes."
