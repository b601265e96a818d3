"""The tools that a request offers to the model, in no API's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

TOOLS_FIELD: Final = "tools"  # in errors; a dialect may have another name for it
MOST_CALLS: Final = 32  # of an answer that a guide keeps to calls: a weak model would go on for ever
ToolChoice = Literal["auto", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is the JSON schema of its arguments; None allows any object."""

    name: str
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools that an answer may call; a request that offers none, or forbids calls, has no `Tools` at all.

    Attributes:
        tools: those that may be called. (The prompt may list more.)
        choice: "required": the answer consists of calls alone. A single required tool is one that a client names.
        parallel: whether an answer may have several calls.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice = "auto"
    parallel: bool = True
