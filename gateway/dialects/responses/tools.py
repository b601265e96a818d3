"""The tools that a response may call: those of a chat, in the flat form that this API has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from gateway.dialects.openai.messages import must_be
from gateway.dialects.openai.requests import tools as chat
from gateway.dialects.responses.items import Json
from gateway.dialects.responses.tool_types import (
    AllowedFunctions,
    CustomFormat,
    FlatCustom,
    FlatFunction,
    ToolReference,
)
from triton_repo.contract.sampling import UNSUPPORTED

# Tools that OpenAI's own servers run, or its own models know. Agents list them to every server: they are dropped, which
# the answer says, unless a choice asks for one.
HOSTED: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_preview",
    }
)

_FIELDS: Final = {
    "function": ("name", "description", "parameters", "strict"),
    "custom": ("name", "description", "format"),
}
_VERSIONED: Final = re.compile(r"(.+?)(_\d{4}_\d{2}_\d{2})?")  # web_search_2025_08_26


def is_hosted(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    name = _VERSIONED.fullmatch(kind) if isinstance(kind, str) else None
    return name is not None and name[1] in HOSTED


def dropped(tools: Any) -> list[str]:
    """The tools of a body that are dropped, by their types, for the header that says so."""
    given = tools if isinstance(tools, list) else []
    return list(dict.fromkeys(f"tools.{tool['type']}" for tool in given if is_hosted(tool)))


def _nested(value: Any) -> Any:
    """A tool, or the reference to one, as a chat has it; anything else as it is."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in _FIELDS or kind in value:
        return value
    fields = {name: value[name] for name in _FIELDS[kind] if value.get(name) is not None}
    grammar = fields.get("format")
    if kind == "custom" and isinstance(grammar, Mapping) and grammar.get("type") == "grammar":
        fields["format"] = {"type": "grammar", "grammar": {**grammar}}
    return {"type": kind, kind: fields}


def _nested_each(value: Any) -> Any:
    return [_nested(tool) for tool in value if not is_hosted(tool)] if isinstance(value, list) else value


def _nested_choice(value: Any) -> Any:
    if is_hosted(value):
        raise PydanticCustomError(UNSUPPORTED, "this server runs no tool of this type")
    if not isinstance(value, Mapping) or value.get("type") != "allowed_tools" or "allowed_tools" in value:
        return _nested(value)
    return {"type": "allowed_tools", "allowed_tools": {**value, "tools": _nested_each(value.get("tools"))}}


OfferedTools = Annotated[chat.OfferedTools, BeforeValidator(_nested_each, json_schema_input_type=list[Json])]
ToolChoice = Annotated[
    chat.ToolChoice,
    must_be(
        'none, auto, required, {"type": "function" or "custom", "name": ...}, or {"type": "allowed_tools", "mode": '
        '"auto" or "required", "tools": [...]} with functions and custom tools by their names'
    ),
    BeforeValidator(_nested_choice, json_schema_input_type=str | Json),
]


def flat_tool(tool: chat.AnyTool) -> FlatFunction | FlatCustom:
    if isinstance(tool, chat.CustomTool):
        custom, grammar = tool.custom, tool.custom.grammar
        format: CustomFormat = {"type": "text"}
        if grammar is not None:
            format = {"type": "grammar", "syntax": grammar.syntax, "definition": grammar.definition}
        return {"type": "custom", "name": custom.name, "description": custom.description, "format": format}
    function = tool.function
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": function.strict,
    }


def flat_choice(choice: ToolChoice) -> Literal["none", "auto", "required"] | ToolReference | AllowedFunctions:
    match choice:
        case chat.NamedFunction() | chat.NamedCustom():
            return {"type": choice.type, "name": choice.function.name}
        case chat.AllowedTools(allowed_tools=allowed):
            tools: list[ToolReference] = [{"type": tool.type, "name": tool.function.name} for tool in allowed.tools]
            return {"type": "allowed_tools", "mode": allowed.mode, "tools": tools}
        case _:
            return choice
