"""The tools of a request. Those that Anthropic defines, and those that run on its servers, have no schema here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.answers.calls.tools import Tool, Tools
from gateway.dialects.depth import check_depth
from gateway.dialects.openai.messages import must_be
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import UNSUPPORTED

MAX_TOOLS: Final = 1024


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


def _custom(kind: str | None) -> str | None:
    if kind not in (None, "custom"):
        message = "tools of type {kind} are not supported, only those with an input_schema of their own"
        raise PydanticCustomError(UNSUPPORTED, message, {"kind": (kind or "")[:64]})
    return kind


def _object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type", "object") != "object":
        raise PydanticCustomError("schema", 'must be the JSON schema of an object: "type": "object"')
    check_depth(schema)
    return schema


class ToolDefinition(_Value):
    type: Annotated[str | None, AfterValidator(_custom)] = None
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: Annotated[dict[str, Any], AfterValidator(_object_schema)]
    strict: bool | None = None


def _distinct(tools: Sequence[ToolDefinition]) -> Sequence[ToolDefinition]:
    names: set[str] = set()
    for tool in tools:
        if tool.name in names:
            raise PydanticCustomError("tools", "two tools have the name {name}", {"name": tool.name})
        names.add(tool.name)
    return tools


ToolDefinitions = Annotated[
    list[ToolDefinition], Field(max_length=MAX_TOOLS, fail_fast=True), AfterValidator(_distinct)
]


class ChoiceOfTools(_Value):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


ToolChoice = Annotated[
    ChoiceOfTools, must_be('{"type": "auto", "any" or "none"}, or {"type": "tool", "name": ...} with one of tools')
]


def offered_tools(
    tools: Sequence[ToolDefinition] | None, choice: ChoiceOfTools | None
) -> tuple[Sequence[ToolDefinition], Tools | None]:
    """The tools that the prompt lists, and what the answer may call of them. Tools that must not be called are not
    even listed: a model that reads of them may call them.

    Raises:
        InvalidRequest: the choice names a tool that is not there, or needs one where there is none.
    """
    kind = "auto" if choice is None else choice.type
    if kind == "none" or (not tools and kind == "auto"):
        return (), None
    listed = [tool for tool in tools or () if kind != "tool" or tool.name == (choice and choice.name)]
    if not listed:
        known = f"there is no tool {choice.name!r} in tools" if choice and choice.name else "there are no tools"
        raise InvalidRequest(f"tool_choice: {known}", "tool_choice")
    parallel = choice is None or not choice.disable_parallel_tool_use
    neutral = tuple(Tool(tool.name, tool.input_schema, bool(tool.strict)) for tool in listed)
    return listed, Tools(neutral, "auto" if kind == "auto" else "required", parallel)


def template_tool(tool: ToolDefinition) -> dict[str, Any]:
    """The tool as chat templates read it, in OpenAI's form. Many print a description without asking for it."""
    function = {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}
    return {"type": "function", "function": function}
