"""The documentation as data: its pages, their fenced examples, and the names that stand in them as code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = (
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "engines" / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "gateway" / "page" / "markdown-it.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

# What an example says behind its language when it cannot run here, and why.
NOT_RUN: Final = {
    "cluster": "needs a Kubernetes cluster",
    "docker": "needs Docker",
    "gpu": "needs an NVIDIA GPU, several machines or a checkpoint that only they can hold",
    "hub": "needs the HuggingFace hub",
    "network": "needs a package registry",
    "serve": "stays in the foreground; the tests of launch/ start it",
    "slow": "takes minutes",
}

_MARKDOWN: Final = MarkdownIt().enable("table")


@dataclass(frozen=True)
class Example:
    """One fenced block. `output` is the `text` block that follows it at once, in which `…` stands for anything."""

    page: Path
    line: int
    language: str
    mark: str
    content: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def lines(self) -> list[str]:
        """The commands of a shell example, those of several lines as one."""
        return [line for line in self.content.replace("\\\n", " ").splitlines() if line.strip()]


def tokens(page: Path) -> list[Token]:
    return _MARKDOWN.parse(page.read_text(encoding="utf-8"))


def examples(page: Path) -> Iterator[Example]:
    found = tokens(page)
    for token, following in zip(found, [*found[1:], None], strict=True):
        if token.type == "fence" and token.map:
            language, _, mark = token.info.partition(" ")
            output = following.content if following and following.type == "fence" and following.info == "text" else None
            yield Example(page, token.map[0] + 1, language, mark, token.content, output)


def all_examples(*languages: str) -> list[Example]:
    return [example for page in PAGES for example in examples(page) if example.language in languages]


def codes(page: Path) -> list[str]:
    """What stands in the text as `code`."""
    inline = (child for token in tokens(page) for child in token.children or ())
    return [child.content for child in inline if child.type == "code_inline"]


def table_rows(page: Path, heading: str) -> list[list[list[str]]]:
    """Rows of the tables whose first column has this heading: for each cell what stands in it as `code`."""
    rows: list[list[list[str]]] = []
    head, cell = "", ""  # of this table; the kind of cell that is open
    for token in tokens(page):
        if token.type == "table_open":
            head = ""
        elif token.type == "tr_open":
            cells = list[list[str]]()
        elif token.type in {"th_open", "td_open"}:
            cell = token.type
        elif token.type == "inline" and cell == "th_open":
            head = head or token.content
        elif token.type == "inline" and cell == "td_open":
            cells.append([child.content for child in token.children or () if child.type == "code_inline"])
        elif token.type in {"th_close", "td_close"}:
            cell = ""
        elif token.type == "tr_close" and head == heading:
            rows.append(cells)
    return [cells for cells in rows if cells]


def table_names(page: Path, heading: str) -> set[str]:
    """What stands as `code` in the first column of the tables that have `heading` as their first."""
    return {code for cells in table_rows(page, heading) for code in cells[0]}


def long_flags(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)
