"""Specs of replay engines with the demo's tokenizer and a chat template of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import ROOT

SPEC = """name = "{name}"
model = "checkpoint"
runtime = "replay"
{sections}
"""
ONE_TEXT = '[replay]\ntext = "Here I am."'
# Says what the user said last, so that a test can have any model's words answered. It lists tools where a chat has only
# "a", as Conch asks it whether it does.
ECHO = "{% if messages[-1].content == 'a' %}{{ tools }}{% endif %}{{ messages[-1].content }}"


def write_spec(directory: Path, name: str, template: str, sections: str = ONE_TEXT) -> Path:
    """The spec, in a directory that has nothing yet."""
    shutil.copytree(ROOT / "engines" / "demo" / "checkpoint", directory / "checkpoint")
    (directory / "checkpoint" / "chat_template.jinja").write_text(template, encoding="utf-8")
    spec = directory / f"{name}.toml"
    spec.write_text(SPEC.format(name=name, sections=sections), encoding="utf-8")
    return spec


def write_echo(directory: Path, name: str, tool_parser: str, reasoning_parser: str) -> Path:
    """The spec of an engine whose answers are the last message, read by these parsers."""
    directory.mkdir(exist_ok=True)
    serve = f'[serve]\ntool_parser = "{tool_parser}"\nreasoning_parser = "{reasoning_parser}"\n{ONE_TEXT}\necho = true'
    return write_spec(directory, name, ECHO, serve)
