"""The tools that a request offers to the model, in no API's own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.answers.schema_check import NoSchema, check_schema
from triton_repo.contract.errors import InvalidRequest

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


def check_parameters(tools: Iterable[Tool], param: str) -> None:
    """
    Args:
        tools: those whose arguments must match their schemas; what no call is held to may be any object.

    Raises:
        InvalidRequest: no answer could be checked against a schema, because it is none, or refers to what is not in it.
    """
    for tool in tools:
        try:
            check_schema(tool.parameters or {})
        except NoSchema as error:
            raise InvalidRequest(f"{param}: the parameters of {tool.name}: not a JSON schema: {error}", param) from None
