"""The parser and the guide of an answer, by the names of its families."""

from __future__ import annotations

from gateway.parsers.guides import CallRules, Thinking, tools_guide
from gateway.parsers.parser import Parser, Schemas
from gateway.parsers.reasoning.families import REASONING_PARSERS
from gateway.parsers.set_text import SetTextOr
from gateway.parsers.then import Then
from gateway.parsers.tools.families import TOOL_PARSERS
from gateway.parsers.tools.forms import CALL_FORMS

__all__ = ["REASONING_PARSERS", "TOOL_PARSERS", "answer_guide", "answer_parser", "has_guide", "opens_reasoning"]


def answer_parser(
    tools: str | None,
    reasoning: str | None,
    schemas: Schemas | None = None,
    *,
    reasoning_is_open: bool = False,
    text_is_set: bool = False,
) -> Parser | None:
    """The parser of one answer; None where there is nothing to read but text.

    Args:
        tools, reasoning: names of families, or None.
        schemas: the functions that may be called; None where calls are not wanted, so that they stay text.
        reasoning_is_open: the prompt ends within the reasoning (`opens_reasoning` tells).
        text_is_set: a guide sees to it that there are either calls or text of some form, which may hold anything.

    Raises:
        KeyError: no family has this name.
    """
    second = TOOL_PARSERS[tools].parser(schemas) if tools is not None and schemas is not None else None
    if second is not None and text_is_set:
        second = SetTextOr(CALL_FORMS[tools or ""].trigger, second)
    if reasoning is None:
        return second
    family = REASONING_PARSERS[reasoning]
    call_start = TOOL_PARSERS[tools].keep_special[0] if tools is not None and second is not None else ""
    first = family.parser(reasoning_is_open, schemas, call_start)
    return first if second is None or family.calls == tools else Then(first, second)


def opens_reasoning(prompt: str, reasoning: str) -> bool:
    """Whether a rendered prompt ends with the start of the reasoning, as many templates' generation prompts do."""
    return prompt.rstrip().endswith(REASONING_PARSERS[reasoning].start.rstrip())


def has_guide(tools: str, *, within_text: bool) -> bool:
    """Whether the calls of a family can be guided; `within_text`: in answers that may be text too."""
    form = CALL_FORMS.get(tools)
    return form is not None and bool(form.trigger or not within_text)


def answer_guide(
    tools: str, reasoning: str | None, schemas: Schemas, rules: CallRules, *, reasoning_is_open: bool = False
) -> str:
    """The guide, a structural tag as JSON, that lets an answer call these functions alone, with valid arguments.

    The reasoning before is left free.

    Raises:
        KeyError: there is none for the way in which this family writes calls (`has_guide`).
    """
    form = CALL_FORMS[tools]
    family = None if reasoning is None else REASONING_PARSERS[reasoning]
    thinking = Thinking(family.start, family.end + family.behind, reasoning_is_open) if family else None
    return tools_guide(form, schemas, rules, thinking)
