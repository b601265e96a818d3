"""What a check found: one line of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from triton_repo.contract.errors import LaunchError

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`todo` is empty where nothing is wrong. With an error Conch cannot serve; with a warning it can, or in part."""

    what: str
    found: str
    severity: Severity = "ok"
    todo: str = ""


def warning(what: str, found: str, todo: str) -> Finding:
    return Finding(what, found, "warning", todo)


def error(what: str, found: str, todo: str) -> Finding:
    return Finding(what, found, "error", todo)


def tried(what: str, probe: Callable[[], str]) -> Iterator[Finding]:
    """What `probe` finds; its LaunchError says what is wrong and what helps."""
    try:
        yield Finding(what, probe())
    except LaunchError as failure:
        yield error(what, "not usable", str(failure))
