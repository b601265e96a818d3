"""The functions that a response may call: those of a chat, in the flat form that this API has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from gateway.dialects.openai.messages import must_be
from gateway.dialects.openai.requests import tools as chat
from gateway.dialects.responses.items import Json
from gateway.dialects.responses.resource import AllowedFunctions, FlatFunction, FunctionReference

_OF_FUNCTION: Final = ("name", "description", "parameters", "strict")


def _nested(value: Any) -> Any:
    """A function, or the reference to one, as a chat has it; anything else as it is."""
    if not isinstance(value, Mapping) or value.get("type") != "function" or "function" in value:
        return value
    return {"type": "function", "function": {name: value[name] for name in _OF_FUNCTION if name in value}}


def _nested_each(value: Any) -> Any:
    return [_nested(tool) for tool in value] if isinstance(value, list) else value


def _nested_choice(value: Any) -> Any:
    if not isinstance(value, Mapping) or value.get("type") != "allowed_tools" or "allowed_tools" in value:
        return _nested(value)
    return {"type": "allowed_tools", "allowed_tools": {**value, "tools": _nested_each(value.get("tools"))}}


FunctionTools = Annotated[chat.FunctionTools, BeforeValidator(_nested_each, json_schema_input_type=list[Json])]
ToolChoice = Annotated[
    chat.ToolChoice,
    BeforeValidator(_nested_choice, json_schema_input_type=str | Json),
    must_be(
        'none, auto, required, {"type": "function", "name": ...}, or {"type": "allowed_tools", "mode": "auto" or '
        '"required", "tools": [...]} with functions by their names'
    ),
]


def flat_tool(tool: chat.FunctionTool) -> FlatFunction:
    function = tool.function
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": function.strict,
    }


def flat_choice(choice: ToolChoice) -> Literal["none", "auto", "required"] | FunctionReference | AllowedFunctions:
    match choice:
        case chat.NamedFunction(function=function):
            return {"type": "function", "name": function.name}
        case chat.AllowedTools(allowed_tools=allowed):
            tools: list[FunctionReference] = [
                {"type": "function", "name": tool.function.name} for tool in allowed.tools
            ]
            return {"type": "allowed_tools", "mode": allowed.mode, "tools": tools}
        case _:
            return choice
