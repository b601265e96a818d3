"""A template gets the content of messages in the form that it reads: no message is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from triton_repo.preprocess.chat_template import ChatTemplate

STRING = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
# The shape of Llama Guard 3: a string has no elements with a type, so it leaves no text and raises no error.
PARTS = """{% for m in messages %}{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}
{{- m.role + ': ' + part['text'] | trim + '\\n' }}{% endfor %}{% endfor %}"""
FIRST_PART = "{% for m in messages %}{{ m.role }}: {{ m.content[0]['text'] }}\n{% endfor %}"
BOTH = """{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}
{%- for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{{ '\\n' }}{% endfor %}"""
UPPER = "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}"
NEEDS_A_SYSTEM_MESSAGE = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}" + STRING
)


def rendered(source: str, *messages: dict[str, Any]) -> str:
    return ChatTemplate(source, {}).render({"messages": [*messages]}, 10_000)


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


@pytest.mark.parametrize("source", [STRING, PARTS, FIRST_PART, BOTH])
def test_strings_and_parts_reach_every_template(source: str) -> None:
    whole = rendered(source, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"})
    assert whole == "system: Be brief.\nuser: hello\n"
    assert rendered(source, {"role": "user", "content": parts("hello")}) == "user: hello\n"
    assert (
        rendered(source, {"role": "user", "content": "a"}, {"role": "user", "content": parts("b")}).count("user") == 2
    )


@pytest.mark.parametrize("source", [STRING, BOTH])
def test_parts_are_joined_for_a_template_that_reads_strings(source: str) -> None:
    assert rendered(source, {"role": "user", "content": parts("What is ", "Conch?")}) == "user: What is Conch?\n"


def test_the_format_is_found_for_templates_that_change_or_reject_one_message() -> None:
    assert rendered(UPPER, {"role": "user", "content": "hello"}) == "user: HELLO\n"
    system = {"role": "system", "content": "s"}
    assert rendered(NEEDS_A_SYSTEM_MESSAGE, system, {"role": "user", "content": "a"}) == "system: s\nuser: a\n"


def test_a_tool_call_without_content_has_no_parts() -> None:
    assert rendered(PARTS, {"role": "user", "content": "a"}, {"role": "assistant", "content": None}) == "user: a\n"


@pytest.mark.parametrize(
    "source", [STRING, UPPER, "{% for m in messages %}{{ m.role + ': ' + m.content }}\n{% endfor %}"]
)
def test_content_that_is_null_is_an_empty_text(source: str) -> None:
    assert rendered(source, {"role": "assistant", "content": None, "tool_calls": []}) == "assistant: \n"


def test_parts_that_are_not_text_reach_the_template_as_they_came() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    image = {"type": "image_url", "image_url": {"url": "x"}}
    assert rendered(template, {"role": "user", "content": [image]}) == str([image])
