"""Calls in an answer to a chat: as `tool_calls`, or as the one `function_call` of requests with `functions`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.answers.events import FinalReason, ToolCall, ToolCallDelta
from gateway.dialects.openai.answers import chat as answers


def add_calls(message: answers.ChatMessage, calls: Sequence[ToolCall], *, as_function: bool) -> None:
    """Add the calls to a whole message; one without text then has no content."""
    if not calls:
        return
    message["content"] = message["content"] or None
    if as_function:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    else:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]


def call_delta(delta: ToolCallDelta, *, as_function: bool) -> answers.ChatDelta:
    """`id`, `type` and `name` are in the first part of a call only, as OpenAI sends them."""
    function: answers.CalledFunctionDelta = {"arguments": delta.arguments}
    if delta.id is not None:
        function = {"name": delta.name, "arguments": delta.arguments}
    if as_function:
        return {"function_call": function}
    if delta.id is None:
        return {"tool_calls": [{"index": delta.call, "function": function}]}
    return {"tool_calls": [{"index": delta.call, "id": delta.id, "type": "function", "function": function}]}


def chat_reason(reason: FinalReason, *, as_function: bool) -> answers.ChatReason:
    return "function_call" if as_function and reason == "tool_calls" else reason
