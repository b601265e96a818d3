"""Specs of replay engines with the demo's tokenizer and a chat template of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import ROOT

SPEC = """name = "{name}"
model = "checkpoint"
runtime = "replay"
[replay]
text = "Here I am."
"""


def write_spec(directory: Path, name: str, template: str) -> Path:
    """The spec, in a directory that has nothing yet."""
    shutil.copytree(ROOT / "engines" / "demo" / "checkpoint", directory / "checkpoint")
    (directory / "checkpoint" / "chat_template.jinja").write_text(template, encoding="utf-8")
    spec = directory / f"{name}.toml"
    spec.write_text(SPEC.format(name=name), encoding="utf-8")
    return spec
