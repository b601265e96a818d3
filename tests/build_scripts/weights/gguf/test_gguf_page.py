"""docs/gguf.md says what is read, and nothing else."""

from __future__ import annotations

import re

from build_scripts.weights.gguf.families.known import FAMILIES
from build_scripts.weights.gguf.quantized import known_types
from tests.layout import ROOT


def row(title: str) -> str:
    page = (ROOT / "docs" / "gguf.md").read_text(encoding="utf-8")
    return next(line for line in page.splitlines() if line.startswith(f"| {title} |"))


def test_the_page_lists_every_architecture() -> None:
    assert re.findall(r"`([^`]+)`", row("architectures")) == sorted(FAMILIES)


def test_the_page_lists_every_type_of_tensor() -> None:
    listed = row("types of tensors").split(" | ")[1].removesuffix(" |").split(", ")
    assert sorted(listed) == sorted(each.name for each in known_types().values())
