"""How much a model is to reason, in no API's own words, and what this means for its chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from gateway.parsers.families import REASONING_PARSERS, opens_reasoning
from triton_repo.contract.errors import UnsupportedParameter
from triton_repo.contract.model_card import REASONING_EFFORT, REASONING_SWITCHES, ModelCard, ReasoningCard

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# gpt-oss knows three levels.
_HARMONY: Final = "openai_gptoss"
_THREE_LEVELS: Final[Mapping[Effort, str]] = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}


def by_the_templates_switch(card: ModelCard, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a client tells a chat template, with the switch of reasoning also under the name that the template reads:
    clients that know one family of models send that family's to all."""
    own = card.reasoning.switch if card.reasoning is not None else None
    others = [name for name in REASONING_SWITCHES if name in given]
    return {**given, own: given[others[0]]} if own is not None and own not in given and others else given


def template_arguments(card: ModelCard, effort: Effort | None, model: str) -> dict[str, Any]:
    """The arguments by which the model's chat template is told of an effort.

    Raises:
        UnsupportedParameter: the model is not to reason, and always does.
    """
    how = card.reasoning
    if how is None or effort is None:
        return {}
    switch = {how.switch: effort != "none"} if how.switch else {}
    if how.reads_effort and not (switch and effort == "none"):
        return {**switch, REASONING_EFFORT: _THREE_LEVELS.get(effort, effort) if how.parser == _HARMONY else effort}
    if effort == "none" and not switch and how.parser is not None:
        rule = "its chat template has no switch for it"
        raise UnsupportedParameter(f"{REASONING_EFFORT} = none: model {model} always reasons: {rule}", REASONING_EFFORT)
    return switch


def reads_effort(card: ModelCard, effort: Effort | None) -> bool:
    """Whether an effort has an effect: no reasoning is what a model without any does."""
    how = card.reasoning
    return effort in (None, "none") or (how is not None and (how.reads_effort or how.switch is not None))


def may_reason(how: ReasoningCard | None, arguments: Mapping[str, Any]) -> bool:
    """Whether an answer to a prompt with these template arguments may have reasoning that is told apart."""
    if how is None or how.parser not in REASONING_PARSERS:
        return False
    return how.switch is None or arguments.get(how.switch) is not False


def prompt_opens_reasoning(how: ReasoningCard | None, arguments: Mapping[str, Any]) -> bool:
    """Whether a prompt with these template arguments ends within the reasoning."""
    if how is None or how.parser is None or how.parser not in REASONING_PARSERS:
        return False
    said = arguments.get(how.switch) if how.switch else None
    tail = how.tail if said is None else how.tail_on if said else how.tail_off
    return opens_reasoning(tail, how.parser)
