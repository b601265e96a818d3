"""`functions` and `function_call`: the words that OpenAI had for tools in 2023, which older clients still send.

Source: OpenAI's API reference, "Chat", where both are deprecated in favour of `tools` and `tool_choice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.dialects.openai.messages import must_be
from gateway.dialects.openai.requests.tools import (
    MAX_TOOLS,
    AnyTool,
    FunctionDefinition,
    FunctionTool,
    NamedFunction,
    ToolChoice,
    check_distinct,
)


class FunctionName(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    name: str


def _distinct(functions: list[FunctionDefinition]) -> list[FunctionDefinition]:
    check_distinct(functions)
    return functions


Functions = Annotated[list[FunctionDefinition], Field(max_length=MAX_TOOLS, fail_fast=True), AfterValidator(_distinct)]
FunctionChoice = Annotated[Literal["none", "auto"] | FunctionName, must_be('none, auto or {"name": ...}')]


def as_tools(functions: Sequence[FunctionDefinition]) -> list[AnyTool]:
    return [FunctionTool(type="function", function=function) for function in functions]


def as_tool_choice(choice: FunctionChoice | None) -> ToolChoice | None:
    if isinstance(choice, FunctionName):
        return NamedFunction.model_validate({"type": "function", "function": {"name": choice.name}})
    return choice
