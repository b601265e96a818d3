"""The tools of a chat: which functions the model may call, and whether it must."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from gateway.answers.calls.tools import Tool, Tools
from gateway.dialects.depth import check_depth
from gateway.dialects.openai.messages import must_be
from gateway.dialects.openai.requests.custom_tools import CustomDefinition
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import UNSUPPORTED

MAX_TOOLS: Final = 128  # OpenAI's
MAX_TOOLS_BYTES: Final = 256 * 1024  # of JSON, all of them together
NAME: Final = r"^[A-Za-z0-9_.:-]{1,128}$"  # OpenAI's, longer, and with the "." and ":" that MCP servers use

FunctionName = Annotated[str, Field(pattern=NAME)]


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a JSON schema of an object must be for a template to print it and a grammar to be made of it."""
    if schema is None:
        return None
    if schema.get("type", "object") != "object":
        raise PydanticCustomError("schema", 'must be the JSON schema of an object: "type": "object"')
    if not isinstance(schema.get("properties", {}), dict) or not isinstance(schema.get("required") or [], list):
        raise PydanticCustomError("schema", "`properties` must be an object, and `required` a list of names")
    check_depth(schema)
    return schema


class FunctionDefinition(_Value):
    """`parameters` is the JSON schema of the arguments; without it there are none."""

    name: FunctionName
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, AfterValidator(_object_schema)] = None
    strict: bool | None = None


class FunctionTool(_Value):
    type: Literal["function"]
    function: FunctionDefinition


class CustomTool(_Value):
    type: Literal["custom"]
    custom: CustomDefinition

    @cached_property
    def function(self) -> FunctionDefinition:
        """What it is to the model."""
        return FunctionDefinition.model_validate(self.custom.as_function())


AnyTool = FunctionTool | CustomTool


def _known_type(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind not in ("function", "custom"):
        message = "tools of this type are not supported, only those of type function and custom"
        raise PydanticCustomError(UNSUPPORTED, message)
    return tool


def _tag(tool: Any) -> str:
    """As pydantic's own, it is left out of the place that an error names."""
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "tagged-custom" if kind == "custom" else "tagged-function"


def check_distinct(functions: Sequence[FunctionDefinition]) -> None:
    """Raises PydanticCustomError for two of one name, or where they are too large together."""
    names = [function.name for function in functions]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PydanticCustomError("tools", "two functions have the name {name}", {"name": twice})
    if len(orjson.dumps([function.model_dump() for function in functions])) > MAX_TOOLS_BYTES:
        rule = f"must be at most {MAX_TOOLS_BYTES} bytes of JSON together"
        raise PydanticCustomError("tools", "{rule}", {"rule": rule})


def _distinct(tools: Sequence[AnyTool]) -> Sequence[AnyTool]:
    check_distinct([tool.function for tool in tools])
    return tools


_Tool = Annotated[
    Annotated[FunctionTool, Tag("tagged-function")] | Annotated[CustomTool, Tag("tagged-custom")],
    Discriminator(_tag),
    BeforeValidator(_known_type, json_schema_input_type=AnyTool),
]
OfferedTools = Annotated[list[_Tool], Field(max_length=MAX_TOOLS, fail_fast=True), AfterValidator(_distinct)]


class _FunctionReference(_Value):
    name: str


class NamedFunction(_Value):
    type: Literal["function"]
    function: _FunctionReference


class NamedCustom(_Value):
    type: Literal["custom"]
    custom: _FunctionReference

    @property
    def function(self) -> _FunctionReference:
        return self.custom


_NamedTool = Annotated[NamedFunction | NamedCustom, Field(discriminator="type")]


class _AllowedTools(_Value):
    mode: Literal["auto", "required"]
    tools: Annotated[list[_NamedTool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class AllowedTools(_Value):
    type: Literal["allowed_tools"]
    allowed_tools: _AllowedTools


ToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedFunction | NamedCustom | AllowedTools,
    must_be(
        'none, auto, required, {"type": "function", "function": {"name": ...}}, {"type": "custom", "custom": {"name": '
        '...}}, or {"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": [...]}} with '
        "functions and custom tools by their names"
    ),
]


def offered_tools(
    tools: Sequence[AnyTool] | None, choice: ToolChoice | None, parallel: bool | None
) -> tuple[list[AnyTool], Tools | None]:
    """The tools that the prompt lists, and what the answer may call of them. Tools that must not be called are not
    even listed: a model that reads of them may call them.

    Raises:
        InvalidRequest: the choice names a tool that is not there, or needs one where there is none.
        UnsupportedParameter: it requires a call with a form that is not enforced.
    """
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice: there are no tools to choose from", "tool_choice")
        return [], None
    if choice == "none":
        return [], None
    mode, names = _chosen(choice)
    known = {tool.function.name: tool for tool in tools}
    if (unknown := next((name for name in names if name not in known), None)) is not None:
        raise InvalidRequest(f"tool_choice: there is no tool {unknown!r} in tools", "tool_choice")
    listed = [known[name] for name in dict.fromkeys(names)] or list(tools)
    if mode == "required" and (free := next((tool.function.name for tool in listed if _is_lark(tool)), None)):
        rule = f"nothing holds the input of tool {free!r} to its Lark grammar; leave the call to the model, auto"
        raise UnsupportedParameter(f"tool_choice: {rule}, or give a regular expression", "tool_choice")
    neutral = tuple(Tool(it.name, it.parameters, bool(it.strict)) for it in (tool.function for tool in listed))
    return listed, Tools(neutral, mode, parallel is not False and not isinstance(choice, NamedFunction | NamedCustom))


def _chosen(choice: ToolChoice | None) -> tuple[Literal["auto", "required"], list[str]]:
    """Whether calls are required, and the only functions that may be called; none stands for all."""
    match choice:
        case NamedFunction() | NamedCustom():
            return "required", [choice.function.name]
        case AllowedTools(allowed_tools=allowed):
            return allowed.mode, [tool.function.name for tool in allowed.tools]
        case "required":
            return "required", []
        case _:
            return "auto", []


def custom_names(tools: Sequence[AnyTool] | None) -> frozenset[str]:
    """The tools whose calls have an input in place of arguments."""
    return frozenset(tool.function.name for tool in tools or () if isinstance(tool, CustomTool))


def unenforced(tools: Sequence[AnyTool] | None) -> list[str]:
    """What of the tools has no effect but that the model is told of it, for the header that says so."""
    return ["tools.format.lark"] if any(map(_is_lark, tools or ())) else []


def _is_lark(tool: AnyTool) -> bool:
    return isinstance(tool, CustomTool) and tool.custom.grammar is not None and tool.custom.pattern is None


def template_tool(tool: AnyTool) -> dict[str, Any]:
    """The tool as chat templates read it. Many print a description and parameters without asking whether they are
    there, and the models have seen no `strict`."""
    function = tool.function
    return {
        "type": "function",
        "function": {
            "name": function.name,
            "description": function.description or "",
            "parameters": function.parameters or {"type": "object", "properties": {}},
        },
    }
