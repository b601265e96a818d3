"""A prompt that ends where its last message does, as transformers makes it."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from triton_repo.contract.errors import InvalidRequest
from triton_repo.preprocess.chat_template import ChatTemplate

TEMPLATES = {
    "as it is": "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}",
    "trimmed": "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}",
    "parts": "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}</>{% endfor %}",
}
USER = {"role": "user", "content": "Name a colour"}


def render(source: str, content: Any, **chat: Any) -> str:
    messages = [USER, {"role": "assistant", "content": content}]
    return ChatTemplate(source, {}).render({"messages": messages, **chat}, 1000)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("content", ["Blu", "Blu ", " Name a colour", "Blu</>", "<a>\n"])
def test_the_prompt_is_the_one_of_transformers(name: str, content: str) -> None:
    messages: list[dict[str, Any]] = [USER, {"role": "assistant", "content": content}]
    if name == "parts":
        messages = [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in messages]
    theirs: Any = render_jinja_template([messages], chat_template=TEMPLATES[name], continue_final_message=True)
    assert render(TEMPLATES[name], content, continue_final_message=True) == theirs[0][0]


def test_the_beginning_of_an_answer_can_be_left_out() -> None:
    source = TEMPLATES["as it is"]
    assert render(source, "Blu").endswith("</><a>")
    assert render(source, "Blu", add_generation_prompt=False).endswith("Blu</>")


@pytest.mark.parametrize("content", ["", None, []])
def test_an_empty_message_cannot_be_continued(content: Any) -> None:
    with pytest.raises(InvalidRequest, match="the last message has no text to continue") as caught:
        render(TEMPLATES["as it is"], content, continue_final_message=True)
    assert caught.value.param == "messages"


def test_a_template_that_leaves_the_message_out_is_named() -> None:
    with pytest.raises(InvalidRequest, match="the chat template leaves out the text"):
        render("{{ messages[0].content }}", "Blu", continue_final_message=True)
