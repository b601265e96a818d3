"""A report as a list of blocks, written as Markdown and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of texts; the columns from `numbers` on are set to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 0

    def rich(self) -> Table:
        view = Table(box=None, header_style="bold", pad_edge=False)
        for index, name in enumerate(self.header):
            view.add_column(name, justify="right" if index >= self.numbers else "left", overflow="fold")
        for row in self.rows:
            view.add_row(*map(Text, row))
        return view


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG image; Markdown refers to it as the file `name`."""

    name: str
    title: str
    svg: str


Block = Heading | Paragraph | Code | Sheet | Picture

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}"
    "div{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2rem .7rem;border-bottom:1px solid #8884;text-align:left;white-space:nowrap}"
    ".n{text-align:right}pre{background:#8881;padding:.7rem;overflow-x:auto}svg{max-width:100%;height:auto}"
)


def markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def html(title: str, blocks: Sequence[Block]) -> str:
    """Nothing in it is fetched from elsewhere, and no text of a block is taken for markup."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style>\n" + "\n".join(map(_html, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return block.text
        case Code():
            return f"```\n{block.text}\n```"
        case Picture():
            return f"![{block.title}]({block.name})"
        case Sheet():
            rule = ["---:" if index >= block.numbers else "---" for index in range(len(block.header))]
            return "\n".join(_line(row) for row in (block.header, rule, *block.rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _html(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{escape(block.text)}</p>"
        case Code():
            return f"<pre>{escape(block.text)}</pre>"
        case Picture():
            return f"<div>{block.svg}</div>"
        case Sheet():
            rows = [_row("th", block.header, block.numbers), *(_row("td", row, block.numbers) for row in block.rows)]
            return "<div><table>\n" + "\n".join(rows) + "\n</table></div>"


def _row(tag: str, cells: Sequence[str], numbers: int) -> str:
    kinds = [' class="n"' if index >= numbers else "" for index in range(len(cells))]
    return "<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
