"""The events that an answer consists of, whatever API it is asked for in, and their fold into a whole answer.

An answer has choices, by index. Each choice is a sequence of Text, Reasoning and ToolCallDelta events that one Finish
ends, after PromptTokens where the prompt's were asked for; the Usage of all choices comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gateway.answers.tokens import Token

FinalReason = Literal["stop", "length", "tool_calls"]


class PromptTokens(NamedTuple):
    """The token ids of a choice's prompt, and as JSON its logprobs, null where they were not asked for."""

    choice: int
    ids: Sequence[int]
    logprobs: bytes


class Text(NamedTuple):
    """Text that is added to a choice. `tokens` are those that arrive with it; None where tokens are not asked for."""

    choice: int
    text: str
    tokens: Sequence[Token] | None = None


class Reasoning(NamedTuple):
    """Text of the model's reasoning, which is no part of the answer's own text."""

    choice: int
    text: str
    tokens: Sequence[Token] | None = None


class ToolCallDelta(NamedTuple):
    """A part of the tool call number `call` of a choice: `id` and `name` come with the first, `arguments` are JSON."""

    choice: int
    call: int
    arguments: str
    id: str | None = None
    name: str | None = None


class Finish(NamedTuple):
    """The end of a choice; `stop` is the stop string that it ended at."""

    choice: int
    reason: FinalReason
    stop: str | None = None


class Usage(NamedTuple):
    """Token counts of a whole answer; None is not known: `cached_tokens` by the engine, `reasoning_tokens` here."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


Event = PromptTokens | Text | Reasoning | ToolCallDelta | Finish | Usage


@dataclass(slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class WholeChoice:
    """A choice with all of its text; `tokens` and `prompt` None where they were not asked for."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    tokens: list[Token] | None = None
    reason: FinalReason = "stop"
    stop: str | None = None
    prompt: PromptTokens | None = None


@dataclass(slots=True)
class WholeAnswer:
    """`events` are what it was made of, for a dialect that keeps their order."""

    choices: list[WholeChoice]
    usage: Usage
    events: Sequence[Event] = ()


def fold(events: Sequence[Event]) -> WholeAnswer:
    """The whole answer that complete `events` add up to: those of a stream, so that the two cannot differ."""
    choices: dict[int, WholeChoice] = {}
    texts: dict[int, list[str]] = {}
    usage = Usage(0, 0)
    for event in events:
        if isinstance(event, Usage):
            usage = event
            continue
        choice = choices.setdefault(event.choice, WholeChoice())
        match event:
            case PromptTokens():
                choice.prompt = event
            case Text(index, text, tokens):
                texts.setdefault(index, []).append(text)
                _add_tokens(choice, tokens)
            case Reasoning(_, text, tokens):
                choice.reasoning += text
                _add_tokens(choice, tokens)
            case ToolCallDelta():
                _add_call(choice, event)
            case Finish(_, reason, stop):
                choice.reason, choice.stop = reason, stop
    for index, parts in texts.items():
        choices[index].text = "".join(parts)
    return WholeAnswer([choices[index] for index in sorted(choices)], usage, events)


def _add_tokens(choice: WholeChoice, tokens: Sequence[Token] | None) -> None:
    if tokens is not None:
        choice.tokens = choice.tokens or []
        choice.tokens += tokens


def _add_call(choice: WholeChoice, delta: ToolCallDelta) -> None:
    if delta.call == len(choice.tool_calls):
        choice.tool_calls.append(ToolCall(delta.id or "", delta.name or ""))
    choice.tool_calls[delta.call].arguments += delta.arguments
