"""The calls in a chat's answer, whole and in parts: of functions with arguments, of custom tools with an input.

They are `tool_calls`, or the one `function_call` of requests with `functions`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.answers.calls.custom_input import CustomInput, input_of
from gateway.answers.events import FinalReason, ToolCall, ToolCallDelta
from gateway.dialects.openai.answers.chat import (
    CalledCustomDelta,
    CalledFunctionDelta,
    ChatCustomCall,
    ChatCustomCallDelta,
    ChatDelta,
    ChatMessage,
    ChatReason,
    ChatToolCall,
    ChatToolCallDelta,
)


class CallDeltas:
    """The parts of the calls of one choice. `custom` are the names of the custom tools."""

    def __init__(self, custom: frozenset[str]) -> None:
        self._custom = custom
        self._open: tuple[int, CustomInput] | None = None  # the call of a custom tool that goes on

    def add(self, delta: ToolCallDelta) -> list[ChatToolCallDelta | ChatCustomCallDelta]:
        """`id`, `type` and `name` are in the first part of a call only, as OpenAI sends them."""
        ended = self.end() if delta.id is not None else []
        if delta.id is not None and delta.name in self._custom:
            self._open = (delta.call, CustomInput())
        if self._open is not None:
            return [*ended, *_custom(delta, self._open[1].add(delta.arguments))]
        if delta.id is None:
            return [{"index": delta.call, "function": {"arguments": delta.arguments}}]
        function: CalledFunctionDelta = {"name": delta.name, "arguments": delta.arguments}
        return [*ended, {"index": delta.call, "id": delta.id, "type": "function", "function": function}]

    def end(self) -> list[ChatToolCallDelta | ChatCustomCallDelta]:
        """What is left of the call that is open."""
        if self._open is None:
            return []
        (index, reading), self._open = self._open, None
        rest = reading.end()
        return [{"index": index, "custom": {"input": rest}}] if rest else []


def add_calls(message: ChatMessage, calls: Sequence[ToolCall], custom: frozenset[str], *, as_function: bool) -> None:
    """Add the calls to a whole message; one without text then has no content."""
    if not calls:
        return
    message["content"] = message["content"] or None
    if as_function:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    else:
        message["tool_calls"] = [_whole(call, is_custom=call.name in custom) for call in calls]


def function_delta(delta: ToolCallDelta) -> ChatDelta:
    """A part of a call; the name is in the first part only, as OpenAI sends it."""
    if delta.id is None:
        return {"function_call": {"arguments": delta.arguments}}
    return {"function_call": {"name": delta.name, "arguments": delta.arguments}}


def chat_reason(reason: FinalReason, *, as_function: bool) -> ChatReason:
    return "function_call" if as_function and reason == "tool_calls" else reason


def _custom(delta: ToolCallDelta, text: str) -> list[ChatCustomCallDelta]:
    if delta.id is None:
        return [{"index": delta.call, "custom": {"input": text}}] if text else []
    called: CalledCustomDelta = {"name": delta.name, "input": text}
    return [{"index": delta.call, "id": delta.id, "type": "custom", "custom": called}]


def _whole(call: ToolCall, *, is_custom: bool) -> ChatToolCall | ChatCustomCall:
    if is_custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": input_of(call.arguments)}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
