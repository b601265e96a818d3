"""Of several chat templates the one counts that counts in transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from build_scripts.source.chat_templates import chat_templates
from tests.build_scripts.conftest import Workshop
from triton_repo.contract.errors import BuildError
from triton_repo.preprocess.client_text import Marked
from triton_repo.preprocess.prompt import PromptEncoder

REPLAY = '[replay]\ntext = "a"'
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
Layout = Callable[[Path], dict[str, Any]]


def file(directory: Path, name: str, text: str) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text(text, encoding="utf-8")


def _config(value: Any) -> Layout:
    return lambda _: {"chat_template": value}


def _file_beside_config(directory: Path) -> dict[str, Any]:
    file(directory, "chat_template.jinja", "file")
    return {"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]}


def _file_and_additional(directory: Path) -> dict[str, Any]:
    file(directory, "chat_template.jinja", "file")
    file(directory, "additional_chat_templates/tool_use.jinja", "toöls")
    file(directory, "additional_chat_templates/rag.jinja", "rag")
    return {"chat_template": "config"}


def _additional_alone(directory: Path) -> dict[str, Any]:
    file(directory, "additional_chat_templates/tool_use.jinja", "tools")
    file(directory, "additional_chat_templates/default.jinja", "plain")
    return {"chat_template": "config"}


LAYOUTS: dict[str, Layout] = {
    "a text": _config("plain"),
    "a list": _config([{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]),
    "an object": _config({"rag": "rag", "default": "plain", "tool_use": "tools"}),
    "a file beside a list": _file_beside_config,
    "a file and more": _file_and_additional,
    "more files alone": _additional_alone,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_templates_are_those_of_transformers(workshop: Workshop, layout: str) -> None:
    workshop.configure("tokenizer_config.json", **LAYOUTS[layout](workshop.checkpoint))
    config = json.loads((workshop.checkpoint / "tokenizer_config.json").read_bytes())
    ours = chat_templates(workshop.checkpoint, config)
    theirs = AutoTokenizer.from_pretrained(workshop.checkpoint)
    assert ours["default"].decode() == theirs.get_chat_template()
    assert ours.get("tool_use", ours["default"]).decode() == theirs.get_chat_template(tools=TOOLS)


def test_a_chat_with_tools_is_rendered_with_the_template_for_them(workshop: Workshop) -> None:
    workshop.configure("tokenizer_config.json", **_file_and_additional(workshop.checkpoint))
    engine = workshop.build(REPLAY, runtime="replay").directory
    encoder = PromptEncoder.load(engine / "tokenizer", 64)
    chats = [json.dumps({"messages": [{"role": "user"}], "tools": tools}).encode() for tools in (None, [], TOOLS)]
    try:
        assert encoder.render(chats) == [Marked(text, "") for text in ("file", "file", "toöls")]
    finally:
        encoder.close()


def test_the_file_of_older_processors_counts_where_there_is_no_other(tmp_path: Path) -> None:
    file(tmp_path, "chat_template.json", '{"chat_template": "of a processor"}')
    assert chat_templates(tmp_path, {}) == {"default": b"of a processor"}
    assert chat_templates(tmp_path, {"chat_template": "config"}) == {"default": b"config"}


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_template_without_text_is_none(tmp_path: Path, blank: str) -> None:
    assert chat_templates(tmp_path, {"chat_template": blank}) == {}
    file(tmp_path, "chat_template.jinja", blank)
    assert chat_templates(tmp_path, {}) == {}


def test_named_templates_without_a_default_are_no_chat_and_a_note(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "y"}]
    workshop.configure("tokenizer_config.json", chat_template=named)
    workshop.build(REPLAY, runtime="replay")
    assert not workshop.manifest.chat
    assert "no chat: its chat templates are rag, tool_use, and none is default" in capsys.readouterr().err


def test_a_template_for_tools_that_is_no_template_is_rejected(workshop: Workshop) -> None:
    file(workshop.checkpoint, "chat_template.jinja", "{{ messages[0].content }}")
    file(workshop.checkpoint, "additional_chat_templates/tool_use.jinja", "{% for %}")
    with pytest.raises(BuildError, match="the chat template is not valid Jinja"):
        workshop.build(REPLAY, runtime="replay")
