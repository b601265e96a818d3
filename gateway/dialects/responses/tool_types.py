"""Tools as this API writes them, and the references to them. Source: OpenAI's API reference, "Responses"."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict


class FlatFunction(TypedDict):
    """A function that may be called, as this API writes it."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class PlainFormat(TypedDict):
    type: Literal["text"]


class GrammarFormat(TypedDict):
    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


CustomFormat = PlainFormat | GrammarFormat


class FlatCustom(TypedDict):
    """A custom tool that may be called."""

    type: Literal["custom"]
    name: str
    description: str | None
    format: CustomFormat


class ToolReference(TypedDict):
    type: Literal["function", "custom"]
    name: str


class AllowedFunctions(TypedDict):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ToolReference]
