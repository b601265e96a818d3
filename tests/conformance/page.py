"""Writes docs/conformance.md: what clients do with Conch, Conch beside NVIDIA's frontend, complaints about others.

python -m tests.conformance.page
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tests.conformance import results
from tests.conformance.clients import CLIENTS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "conformance.md"
TABLES: Final = Path(__file__).with_name("tables")
SOURCES: Final = "https://github.com/triton-inference-server/server/blob"

COMMON: Final = ("chat", "stream", "tools", "stream of tools", "agent", "JSON", "responses", "messages", "embeddings")
# Rows that clients call by other names; what is in no column is named beside the table.
ALIASES: Final = {
    "tool runner": "agent",
    "responses, tool runner": "agent",
    "agent, streamed": "agent",
    "agent workflow, streamed": "agent",
    "JSON schema, parsed": "JSON",
    "responses, streamed": "responses",
    "responses, tools": "responses",
    "responses, parsed": "responses",
    "responses, in the background": "responses",
    "stream helper": "stream",
    "async chat and stream": "stream",
    "strict tools, parsed": "tools",
    "several objects by tools": "tools",
}

INTRODUCTION: Final = """\
# Conformance

Written by `python -m tests.conformance.page`.

## Clients

`make conformance` starts one Conch (Triton, SmolLM2, the demo, all-MiniLM-L6-v2) and drives these clients against it,
each in an environment of its own with the versions below. What is in a column was done and its answer looked at, by
[`tests/conformance/programs`](../tests/conformance/programs): whole and streamed answers are the same, arguments of
calls follow their schema, parsed answers are objects of their class. *agent*: the client runs a tool that the model
calls, and gives its result back. An empty field is what the client does not have.
"""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _clients() -> str:
    known = results.read()
    lines = []
    for client in CLIENTS:
        result = known[client.name]
        lines.append([client.name, result.version, *(_cell(result, column) for column in COMMON), _others(result)])
    return _table(["client", "version", *COMMON, "also"], lines)


def _cell(result: results.Result, column: str) -> str:
    outcomes = [error for row, error in result.rows.items() if ALIASES.get(row, row) == column]
    return "" if not outcomes else "yes" if not any(outcomes) else "**no**"


def _others(result: results.Result) -> str:
    others = [row for row in result.rows if ALIASES.get(row, row) not in COMMON]
    return ", ".join(f"**not** {row}" if row in result.failed else row for row in others)


def comparison() -> dict[str, Any]:
    return tomllib.loads((TABLES / "nvidia.toml").read_text(encoding="utf-8"))


def complaints() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((TABLES / "complaints.toml").read_text(encoding="utf-8"))["complaint"]
    return found


def _comparison() -> str:
    table = comparison()
    text = (
        "\n## Conch and the OpenAI frontend of NVIDIA's Triton\n\n"
        f"The frontend is [`python/openai`]({SOURCES}/{table['commit']}/python/openai) of Triton's server, as of "
        f"{table['commit'][:7]}; it was read, not run. Each field leads to a test or to the line.\n"
    )
    for area, rows in groupby(table["row"], key=lambda row: row["area"]):
        heads = [area, "Conch", "NVIDIA's frontend"]
        text += "\n" + _table(heads, [[row["feature"], _ours(row), _theirs(row, table["commit"])] for row in rows])
    return text


def _ours(row: dict[str, str]) -> str:
    return _linked(row["conch"], f"../{row['test'].partition('::')[0]}") if "test" in row else row["conch"]


def _theirs(row: dict[str, str], commit: str) -> str:
    file, _, line = row["source"].partition(":")
    return _linked(row["nvidia"], f"{SOURCES}/{commit}/python/openai/{file}{f'#L{line}' if line else ''}")


def _linked(text: str, address: str) -> str:
    """Links the verdict alone: the first word."""
    verdict = text.split(":", maxsplit=1)[0].split(";", maxsplit=1)[0].split(" ", maxsplit=1)[0]
    return f"[{verdict}]({address}){text[len(verdict) :]}"


def _complaints() -> str:
    rows = [
        [complaint["what"], complaint["threads"], ", ".join(map(_test_link, complaint["tests"]))]
        for complaint in complaints()
    ]
    return (
        "\n## What users of other servers complain about\n\n"
        "Public threads, by project and number, and the tests that show that it does not happen here.\n\n"
        + _table(["complaint", "threads", "tests"], rows)
    )


def _test_link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{file})"


def text() -> str:
    return INTRODUCTION + "\n" + _clients() + _comparison() + _complaints()


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
