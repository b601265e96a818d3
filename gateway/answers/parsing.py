"""How the text of an answer is read: as text alone, or as reasoning, tool calls and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.answers.calls import json_list
from gateway.answers.calls.own_form import OwnForm
from gateway.answers.calls.tools import MOST_CALLS, Tools
from gateway.parsers.families import REASONING_PARSERS, TOOL_PARSERS, answer_parser
from gateway.parsers.parser import Parser
from triton_repo.contract.model_card import ModelCard, ReasoningCard

_ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Parsing:
    """What an answer may hold besides text, and which families of models (`gateway.parsers.families`) write it so.

    Attributes:
        tools: what may be called; None leaves calls as text.
        reasoning_is_open: the prompt ends within the reasoning.
        is_list: a guide (`json_list`) lets through nothing but calls in a form of its own, or the form of the text.
        own_form: what guides the calls otherwise; None: nothing does.
    """

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    tools: Tools | None = None
    reasoning_is_open: bool = False
    is_list: bool = False
    own_form: OwnForm | None = None

    def parser(self) -> Parser:
        if self.is_list:
            return json_list.parser()
        tools = self.tools
        schemas = {tool.name: tool.parameters or _ANY_OBJECT for tool in tools.tools} if tools else None
        parser = answer_parser(
            self.tool_parser,
            self.reasoning_parser,
            schemas,
            reasoning_is_open=self.reasoning_is_open,
            text_is_set=self.own_form is not None and self.own_form.text is not None,
        )
        if parser is None:
            raise ValueError(f"{self}: there is nothing to read but text")
        return parser

    @property
    def keep_special(self) -> bool:
        """Special tokens mark what the parser reads, and so must be part of the text."""
        if self.is_list:
            return False
        marks = TOOL_PARSERS[self.tool_parser].keep_special if self.tool_parser and self.tools else ()
        return bool(marks or (self.reasoning_parser and REASONING_PARSERS[self.reasoning_parser].keep_special))

    @property
    def most_calls(self) -> int | None:
        """The answer ends before the call that would be one too many; None where it ends by itself."""
        if self.tools is None:
            return None
        if not self.tools.parallel:
            return 1
        return MOST_CALLS if self.own_form is not None else None

    @property
    def counts_tokens(self) -> bool:
        """It matters which token wrote what: for the count of reasoning tokens, or of those before the end."""
        return self.reasoning_parser is not None or self.most_calls is not None


def known_parser(name: str | None, families: Mapping[str, object]) -> str | None:
    """The name of a parser, if this version has it: a newer one may have built the engine."""
    return name if name in families else None


def reads_calls(card: ModelCard) -> bool:
    return known_parser(card.tool_parser, TOOL_PARSERS) is not None


def parsing_for(
    card: ModelCard, tools: Tools | None, reasoning: ReasoningCard | None, own: OwnForm | None, *, is_open: bool
) -> Parsing | None:
    """What the engine's answers are read with; None where they are text alone.

    Args:
        reasoning: that of the card, where reasoning is to be told apart; the prompt ends within it if it `is_open`.
        own: what guides the calls.
    """
    tool_parser = known_parser(card.tool_parser, TOOL_PARSERS) if tools is not None else None
    reasoning_parser = known_parser(reasoning.parser, REASONING_PARSERS) if reasoning is not None else None
    if tool_parser is None and reasoning_parser is None:
        return None
    return Parsing(tool_parser, reasoning_parser, tools if tool_parser else None, is_open, own_form=own)
