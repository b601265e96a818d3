"""The families of models, by the names that vLLM gives to their parsers: how calls and reasoning are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.parsers.parser import Parser, Schemas
from gateway.parsers.reasoning.think import Think
from gateway.parsers.then import Then
from gateway.parsers.tools.marked_json import MarkedJson


@dataclass(frozen=True, slots=True)
class ToolFamily:
    """How a family writes calls.

    Attributes:
        reads: what it reads, for the documentation.
        models: models that write so, for the documentation.
        parser: makes the parser of one answer that may call these functions.
        keep_special: special tokens that the parser must see in the text.
    """

    reads: str
    models: str
    parser: Callable[[Schemas], Parser]
    keep_special: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningFamily:
    """How a family writes reasoning: between `start` and `end`.

    Attributes:
        parser: makes the parser of one answer; True where the prompt ends within the reasoning.
    """

    reads: str
    models: str
    parser: Callable[[bool], Parser]
    keep_special: tuple[str, ...] = ()


def _marked(reads: str, models: str, *starts: str, end: str = "") -> ToolFamily:
    grammar = MarkedJson(*starts, end=end)
    return ToolFamily(reads, models, lambda _schemas: grammar.parser(), (*starts, *([end] if end else [])))


def _think(models: str, start: str, end: str) -> ReasoningFamily:
    grammar = Think(start, end)
    return ReasoningFamily(f"{start}…{end}", models, lambda is_open: grammar.parser(is_open=is_open), (start, end))


TOOL_PARSERS: Final[Mapping[str, ToolFamily]] = {
    "hermes": _marked(
        '<tool_call>{"name": …, "arguments": {…}}</tool_call>',
        "Hermes, Qwen 2.5, Qwen 3",
        "<tool_call>",
        end="</tool_call>",
    ),
}

REASONING_PARSERS: Final[Mapping[str, ReasoningFamily]] = {
    "qwen3": _think("Qwen 3, QwQ", "<think>", "</think>"),
    "deepseek_r1": _think("DeepSeek R1 and its distillations", "<think>", "</think>"),
}


def answer_parser(
    tools: str | None, reasoning: str | None, schemas: Schemas | None = None, *, reasoning_is_open: bool = False
) -> Parser | None:
    """The parser of one answer; None where there is nothing to read but text.

    Args:
        tools, reasoning: names of families, or None.
        schemas: the functions that may be called; None where calls are not wanted, so that they stay text.
        reasoning_is_open: the prompt ends within the reasoning (`opens_reasoning` tells).

    Raises:
        KeyError: no family has this name.
    """
    reads_reasoning = REASONING_PARSERS[reasoning].parser(reasoning_is_open) if reasoning is not None else None
    reads_tools = TOOL_PARSERS[tools].parser(schemas) if tools is not None and schemas is not None else None
    if reads_reasoning is not None and reads_tools is not None:
        return Then(reads_reasoning, reads_tools)
    return reads_reasoning or reads_tools


def opens_reasoning(prompt: str, reasoning: str) -> bool:
    """Whether a rendered prompt ends within the reasoning, as many templates' generation prompts do."""
    start, end = REASONING_PARSERS[reasoning].keep_special
    return prompt.rfind(start) > prompt.rfind(end)
