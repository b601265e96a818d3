"""Calls under a guide, in the form that the model was trained to write, with the reasoning before them left free.

It takes an engine that follows structural tags, and a family of models whose form is known (`gateway.parsers.tools`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.answers.calls.json_list import CHOICE_FIELD, NO_ARGUMENTS, check_length
from gateway.answers.calls.tools import TOOLS_FIELD, Tool, Tools, check_parameters
from gateway.parsers.families import answer_guide, has_guide
from gateway.parsers.guides import CallRules
from gateway.parsers.parser import Schema, Schemas
from triton_repo.contract.model_card import ModelCard, ReasoningCard
from triton_repo.contract.sampling import Guide

GUIDE: Final = "structural_tag"
_ANY_OBJECT: Final[Schema] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class OwnForm:
    """The guide of one answer, in the form of the family `tool_parser`.

    Attributes:
        text: the form of an answer that is no call; None: text as the model likes.
    """

    tool_parser: str
    tools: Tools
    text: Guide | None

    def guide(self, reasoning: ReasoningCard | None, *, is_open: bool) -> Guide:
        """
        Args:
            reasoning: that may come first; the prompt ends within it if it `is_open`. None: there must be none.

        Raises:
            InvalidRequest: the schemas are too long, or one that is enforced is none.
        """
        rules = CallRules(self._is_required, self.tools.parallel, self.text and _format(self.text))
        schemas = {tool.name: self._schema(tool) for tool in self.tools.tools}
        parser = reasoning.parser if reasoning is not None else None
        text = answer_guide(self.tool_parser, parser, schemas, rules, reasoning_is_open=is_open)
        check_length(text, CHOICE_FIELD if self._is_required else TOOLS_FIELD)
        check_parameters(filter(self._is_enforced, self.tools.tools), TOOLS_FIELD)
        return Guide(GUIDE, text)

    @property
    def promised(self) -> Schemas:
        """What the arguments of calls match, by the names of the functions."""
        return {tool.name: self._schema(tool) for tool in self.tools.tools if self._is_enforced(tool)}

    @property
    def _is_required(self) -> bool:
        return self.tools.choice == "required"

    def _is_enforced(self, tool: Tool) -> bool:
        return tool.strict or self._is_required

    def _schema(self, tool: Tool) -> Schema:
        return (tool.parameters or NO_ARGUMENTS) if self._is_enforced(tool) else _ANY_OBJECT


def own_form(tools: Tools | None, text: Guide | None, card: ModelCard) -> OwnForm | None:
    """How the answers are guided, if they need a guide at all and can have one of this kind.

    Args:
        text: the form that the client asks for.
    """
    if tools is None or GUIDE not in card.guides or card.tool_parser is None:
        return None
    required = tools.choice == "required"
    is_needed = required or text is not None or any(tool.strict for tool in tools.tools)
    if not is_needed or not has_guide(card.tool_parser, within_text=not required):
        return None
    if required:
        text = None  # there is none then
    return None if text is not None and text.kind == GUIDE else OwnForm(card.tool_parser, tools, text)


def _format(text: Guide) -> Mapping[str, Any]:
    match text.kind:
        case "regex":
            return {"type": "regex", "pattern": text.text}
        case "ebnf_grammar":
            return {"type": "grammar", "grammar": text.text}
        case _:
            return {"type": "json_schema", "json_schema": orjson.loads(text.text) if text.text else _ANY_OBJECT}
