"""The families as Markdown, for `docs/api.md`: python -m gateway.parsers.table."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.parsers.reasoning.families import REASONING_PARSERS, ReasoningFamily
from gateway.parsers.tools.families import TOOL_PARSERS, ToolFamily


def tool_table() -> str:
    """A row for each way in which calls are written."""
    rows = [["parser", "reads", "of models such as"], ["---"] * 3]
    for names, family in _by_family(TOOL_PARSERS).items():
        rows.append([_codes(names), _codes([family.reads]), family.models])
    return _table(rows)


def reasoning_table() -> str:
    """A row for each way in which reasoning is written."""
    by_reads: dict[str, list[str]] = {}
    for name, family in REASONING_PARSERS.items():
        by_reads.setdefault(family.reads, []).append(name)
    rows = [["parser", "reads", "of models such as"], ["---"] * 3]
    for reads, names in by_reads.items():
        models = ", ".join(REASONING_PARSERS[name].models for name in names)
        rows.append([_codes(names), _codes([reads.replace("\n", "")]), models])
    return _table(rows)


def _by_family(families: Mapping[str, ToolFamily]) -> dict[tuple[str, ...], ToolFamily]:
    names: dict[ToolFamily | ReasoningFamily, tuple[str, ...]] = {}
    for name, family in families.items():
        names[family] = (*names.get(family, ()), name)
    return {of_family: families[of_family[0]] for of_family in names.values()}


def _codes(texts: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts).replace("|", "\\|")


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(f"{tool_table()}\n{reasoning_table()}", end="")  # noqa: T201
