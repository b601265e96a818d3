"""The tool calls of a chat's answer, whole and in parts: of functions with arguments, of custom tools with an input."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.answers.calls.custom_input import CustomInput, input_of
from gateway.answers.events import ToolCall, ToolCallDelta
from gateway.dialects.openai.answers.chat import (
    CalledCustomDelta,
    CalledFunctionDelta,
    ChatCustomCall,
    ChatCustomCallDelta,
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


def whole_calls(calls: Iterable[ToolCall], custom: frozenset[str]) -> list[ChatToolCall | ChatCustomCall]:
    return [_whole(call, is_custom=call.name in custom) for call in calls]


def _custom(delta: ToolCallDelta, text: str) -> list[ChatCustomCallDelta]:
    if delta.id is None:
        return [{"index": delta.call, "custom": {"input": text}}] if text else []
    called: CalledCustomDelta = {"name": delta.name, "input": text}
    return [{"index": delta.call, "id": delta.id, "type": "custom", "custom": called}]


def _whole(call: ToolCall, *, is_custom: bool) -> ChatToolCall | ChatCustomCall:
    if is_custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": input_of(call.arguments)}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
