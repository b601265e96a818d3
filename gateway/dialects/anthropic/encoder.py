"""Anthropic's messages, streamed and whole.

A stream is one block of content after the other: each begins, grows and ends before the next. Source of the format:
Anthropic's API reference, "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import orjson

from gateway.answers.events import (
    Event,
    FinalReason,
    Finish,
    PromptTokens,
    Reasoning,
    Text,
    ToolCallDelta,
    Usage,
    WholeAnswer,
)
from gateway.dialects.anthropic import answer as answers
from gateway.dialects.anthropic.content import ShownThinking, content_of
from gateway.dialects.anthropic.envelope import error_json
from gateway.dialects.dialect import Head
from gateway.dialects.openai.chunks import one_line
from triton_repo.contract.errors import RequestError

_STOP_REASONS: Final[Mapping[FinalReason, answers.StopReason]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
}
_EMPTY_BLOCKS: Final[Mapping[str, answers.AnswerContent]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessageEncoder:
    """Writes one message.

    Args:
        max_tokens: as the client asked; where fewer were written and the length ended it, the context was full.
    """

    def __init__(self, head: Head, max_tokens: int, *, thinking: ShownThinking = "text") -> None:
        self._head = head
        self._max_tokens = max_tokens
        self._shown_thinking = thinking
        self._open: Literal["text", "thinking", "tool_use"] | None = None
        self._index = -1
        self._finish = Finish(0, "stop")

    def start(self) -> bytes:
        message = self._message([], None, None, self._head.usage())
        return _event({"type": "message_start", "message": message})

    def event(self, event: Event) -> bytes:
        match event:
            case Text(_, text, _):
                return (
                    self._begin_unless_open("text") + self._delta({"type": "text_delta", "text": text}) if text else b""
                )
            case Reasoning(_, text, _):
                return self._thinking(text)
            case ToolCallDelta():
                return self._tool_call(event)
            case Finish():
                self._finish = event
                return self._end()
            case Usage():
                return self._usage(event)
            case PromptTokens():
                return b""

    def finish(self) -> bytes:
        return _event({"type": "message_stop"})

    def fail(self, error: RequestError) -> bytes:
        return _event(error_json(error, self._head.id))

    def whole(self, answer: WholeAnswer) -> bytes:
        choice = answer.choices[0]
        content = [*content_of(answer.events, self._shown_thinking, self._signature)]
        reason = self._stop_reason(choice.reason, choice.stop, answer.usage)
        return orjson.dumps(self._message(content, reason, choice.stop, answer.usage))

    @property
    def _signature(self) -> str:
        """Anthropic's proves that its own server has reasoned so. Here it only has to be there."""
        return f"conch-{self._head.id}"

    def _message(
        self, content: list[answers.AnswerContent], reason: answers.StopReason | None, stop: str | None, usage: Usage
    ) -> answers.MessageAnswer:
        return {
            "id": f"msg_{self._head.id}",
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": _usage_json(usage),
        }

    def _thinking(self, text: str) -> bytes:
        if not text or self._shown_thinking == "none":
            return b""
        begun = self._begin_unless_open("thinking")
        if self._shown_thinking != "text":
            return begun
        return begun + self._delta({"type": "thinking_delta", "thinking": text})

    def _tool_call(self, delta: ToolCallDelta) -> bytes:
        begun = b""
        if delta.id is not None:
            begun = self._begin("tool_use", {"type": "tool_use", "id": delta.id, "name": delta.name or "", "input": {}})
        if not delta.arguments:
            return begun
        return begun + self._delta({"type": "input_json_delta", "partial_json": delta.arguments})

    def _begin_unless_open(self, kind: Literal["text", "thinking"]) -> bytes:
        return b"" if self._open == kind else self._begin(kind, _EMPTY_BLOCKS[kind])

    def _begin(self, kind: Literal["text", "thinking", "tool_use"], block: answers.AnswerContent) -> bytes:
        ended = self._end()
        self._open = kind
        self._index += 1
        return ended + _event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _end(self) -> bytes:
        if self._open is None:
            return b""
        signature: answers.SignatureDelta = {"type": "signature_delta", "signature": self._signature}
        signed = self._delta(signature) if self._open == "thinking" else b""
        self._open = None
        return signed + _event({"type": "content_block_stop", "index": self._index})

    def _delta(self, delta: answers.BlockDelta) -> bytes:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _usage(self, usage: Usage) -> bytes:
        reason = self._stop_reason(self._finish.reason, self._finish.stop, usage)
        delta: answers.StopDelta = {"stop_reason": reason, "stop_sequence": self._finish.stop}
        return _event({"type": "message_delta", "delta": delta, "usage": _usage_json(usage)})

    def _stop_reason(self, reason: FinalReason, stop: str | None, usage: Usage) -> answers.StopReason:
        if stop is not None:
            return "stop_sequence"
        if reason == "length" and usage.completion_tokens < self._max_tokens:
            return "model_context_window_exceeded"
        return _STOP_REASONS[reason]


def _event(data: answers.MessageEvent) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), one_line(orjson.dumps(data)))


def _usage_json(usage: Usage) -> answers.MessageUsage:
    cached, num_input = usage.cached_tokens, usage.prompt_tokens - (usage.cached_tokens or 0)
    counts: answers.MessageUsage = {"input_tokens": num_input, "output_tokens": usage.completion_tokens}
    if cached is not None:
        counts["cache_read_input_tokens"] = cached
    return counts
