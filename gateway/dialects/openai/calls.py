"""Calls in an answer to a chat: as `tool_calls`, or as the one `function_call` of requests with `functions`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.answers.events import FinalReason, ToolCall, ToolCallDelta
from gateway.dialects.openai.answers import chat as answers
from gateway.dialects.openai.tool_calls import whole_calls


def add_calls(
    message: answers.ChatMessage, calls: Sequence[ToolCall], custom: frozenset[str], *, as_function: bool
) -> None:
    """Add the calls to a whole message; one without text then has no content."""
    if not calls:
        return
    message["content"] = message["content"] or None
    if as_function:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    else:
        message["tool_calls"] = whole_calls(calls, custom)


def function_delta(delta: ToolCallDelta) -> answers.ChatDelta:
    """A part of a call; the name is in the first part only, as OpenAI sends it."""
    if delta.id is None:
        return {"function_call": {"arguments": delta.arguments}}
    return {"function_call": {"name": delta.name, "arguments": delta.arguments}}


def chat_reason(reason: FinalReason, *, as_function: bool) -> answers.ChatReason:
    return "function_call" if as_function and reason == "tool_calls" else reason
