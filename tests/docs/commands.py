"""docs/commands.md: every flag of every command, written from the code.

.venv/bin/python -m tests.docs.commands
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Final

import click
import typer

from gateway.settings import SECRETS, Settings
from launch.cli import app
from tests.docs.pages import ROOT

PAGE: Final = ROOT / "docs" / "commands.md"
MAX_COLUMNS: Final = 120
_HEAD: Final = """# Commands

Written from the code by `.venv/bin/python -m tests.docs.commands`; a test fails where they differ.
"""


def verbs() -> dict[str, click.Command]:
    """Those of groups too, by the words that call them."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    return dict(_commands(group))


def _commands(group: click.Group, words: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{words}{name} ")
        else:
            yield f"{words}{name}", command


def gateway_flags() -> dict[str, Any]:
    """The flags of `python -m gateway` with their defaults."""
    fields = Settings.model_fields
    return {f"--{name.replace('_', '-')}": fields[name] for name in fields if name not in SECRETS}


def page() -> str:
    sections = [_verb(name, command) for name, command in verbs().items()]
    return "\n".join([_HEAD, *sections, _gateway()])


def _verb(name: str, command: click.Command) -> str:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    usage = " ".join(["conch", name, *(_argument(one) for one in arguments)])
    rows = [_row(one) for one in command.params if isinstance(one, click.Option)]
    return "\n".join([f"## `{usage}`", "", textwrap.fill(command.help or "", MAX_COLUMNS), "", *_table(rows), ""])


def _argument(argument: click.Argument) -> str:
    name = (argument.name or "").upper() + (" …" if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _row(option: click.Option) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names, _shown(option.default), " ".join([option.help or "", _allowed(option.type)]).strip()


def _allowed(kind: click.ParamType[Any]) -> str:
    if isinstance(kind, click.IntRange | click.FloatRange):
        bounds = (("≥", kind.min), ("≤", kind.max))
        return f"({', '.join(f'{sign} {bound}' for sign, bound in bounds if bound is not None)})"
    if isinstance(kind, click.Choice):
        return f"({', '.join(str(getattr(choice, 'value', choice)) for choice in kind.choices)})"
    return ""


def _shown(default: object) -> str:
    if default is None or default is False or default in ((), [], "") or callable(default):
        return ""
    if type(default).__name__ == "Sentinel":
        return ""
    if isinstance(default, tuple | list):
        return f"`{' '.join(default)}`"
    return f"`{getattr(default, 'value', default)}`"


def _gateway() -> str:
    rows = [(f"`{flag}`", _shown(field.default), field.description) for flag, field in gateway_flags().items()]
    text = "The gateway alone, for a Triton that already runs. Keys come from `CONCH_API_KEY` and `CONCH_KSERVE_KEY`."
    return "\n".join(["## `python -m gateway`", "", text, "", *_table(rows), ""])


def _table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield "| flag | default | meaning |"
    yield "|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
