"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from gateway.answers.backend import Chat
from gateway.answers.events import (
    Event,
    FinalReason,
    Finish,
    Reasoning,
    Text,
    ToolCallDelta,
    Usage,
    WholeAnswer,
    WholeChoice,
)
from gateway.answers.tokens import Token
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Call, Head
from gateway.dialects.openai.answers import chat as answers
from gateway.dialects.openai.chunks import Chunks, StreamEnd, chat_logprobs, usage_json
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.messages import template_message
from gateway.dialects.openai.parameters import ignored_parameters, reject_unsupported
from gateway.dialects.openai.requests.chat import ChatCompletionRequest
from gateway.dialects.openai.requests.tools import FunctionTool, offered_tools, template_tool

_AFTER_TEXT: Final = b'},"logprobs":null,"finish_reason":null}'


class ChatCompletions:
    dialect: Final = OPENAI
    body: Final = ChatCompletionRequest
    answer: Final = answers.ChatCompletion
    event: Final = answers.ChatStreamEvent

    def parse(self, fields: dict[str, Any]) -> Call:
        reject_unsupported(fields, ChatCompletionRequest)
        body = parse_body(ChatCompletionRequest, fields)
        listed, tools = offered_tools(body.tools, body.tool_choice, body.parallel_tool_calls)
        request = replace(
            body.answer_request([_prompt(body, listed)]),
            tools=tools,
            reads_reasoning=body.separate_reasoning is not False,
            effort=body.reasoning_effort,
        )
        encoder = partial(
            ChatEncoder,
            num_choices=body.num_choices,
            include_usage=body.include_usage,
            continuous_usage=body.continuous_usage,
            include_reasoning=body.include_reasoning is not False,
        )
        return Call(request, encoder, ignored_parameters(fields, ChatCompletionRequest), body.sent_as)


class ChatEncoder(StreamEnd):
    def __init__(
        self,
        head: Head,
        num_choices: int,
        include_usage: bool,
        continuous_usage: bool = False,
        include_reasoning: bool = True,
    ) -> None:
        self._head = head
        self._include_reasoning = include_reasoning
        self._num_choices = num_choices
        usage_so_far = head.usage if continuous_usage else None
        self._chunks = Chunks(_chunk_keys(head), {}, include_usage, usage_so_far)
        self._before_text = [b'{"index":%d,"delta":{"content":' % index for index in range(num_choices)]

    def start(self) -> bytes:
        opening: answers.ChatDelta = {"role": "assistant", "content": ""}
        return b"".join(self._delta(index, opening) for index in range(self._num_choices))

    def event(self, event: Event) -> bytes:
        match event:
            case Text(index, text, tokens):
                return self._text(index, text, tokens)
            case Finish(index, reason, stop):
                return self._delta(index, {}, reason=reason, stop=stop)
            case Usage():
                return self._chunks.usage(event)
            case Reasoning(index, text, tokens):
                return self._delta(index, _reasoning(text), tokens) if self._include_reasoning else b""
            case ToolCallDelta():
                return self._delta(event.choice, {"tool_calls": [_tool_call_delta(event)]})

    def whole(self, answer: WholeAnswer) -> bytes:
        choices = [_whole_choice(index, choice, self._include_reasoning) for index, choice in enumerate(answer.choices)]
        body: answers.ChatCompletion = {
            "id": f"chatcmpl-{self._head.id}",
            "object": "chat.completion",
            "created": self._head.created,
            "model": self._head.model,
            "choices": choices,
            "usage": usage_json(answer.usage),
            "system_fingerprint": self._head.fingerprint,
        }
        return orjson.dumps(body)

    def _text(self, index: int, text: str, tokens: Sequence[Token] | None) -> bytes:
        if tokens:
            return self._delta(index, {"content": text}, tokens)
        return self._chunks.chunk(self._before_text[index] + orjson.dumps(text) + _AFTER_TEXT) if text else b""

    def _delta(
        self,
        index: int,
        delta: answers.ChatDelta,
        tokens: Sequence[Token] | None = None,
        reason: FinalReason | None = None,
        stop: str | None = None,
    ) -> bytes:
        choice: answers.ChatChunkChoice = {
            "index": index,
            "delta": delta,
            "logprobs": chat_logprobs(tokens),
            "finish_reason": reason,
        }
        if stop is not None:
            choice["stop_reason"] = stop
        return self._chunks.chunk(orjson.dumps(choice))


def _chunk_keys(head: Head) -> answers.ChatChunkHead:
    return {
        "id": f"chatcmpl-{head.id}",
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
    }


def _prompt(body: ChatCompletionRequest, tools: Sequence[FunctionTool]) -> Chat:
    chat = {
        "messages": [template_message(message) for message in body.messages],
        "tools": [template_tool(tool) for tool in tools] or None,
        "template_arguments": body.chat_template_kwargs or {},
        **body.ending,
    }
    return Chat(orjson.dumps(chat))


def _reasoning(text: str) -> answers.ChatDelta:
    return {"reasoning_content": text, "reasoning": text}


def _tool_call_delta(delta: ToolCallDelta) -> answers.ChatToolCallDelta:
    """`id`, `type` and `name` are in the first part of a call only, as OpenAI sends them."""
    if delta.id is None:
        return {"index": delta.call, "function": {"arguments": delta.arguments}}
    function: answers.CalledFunctionDelta = {"name": delta.name, "arguments": delta.arguments}
    return {"index": delta.call, "id": delta.id, "type": "function", "function": function}


def _whole_choice(index: int, choice: WholeChoice, include_reasoning: bool) -> answers.ChatChoice:
    message: answers.ChatMessage = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.reasoning and include_reasoning:
        message["reasoning_content"] = message["reasoning"] = choice.reasoning
    if choice.tool_calls:
        message["content"] = choice.text or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    logprobs = chat_logprobs(choice.tokens)
    whole: answers.ChatChoice = {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": choice.reason,
    }
    if choice.stop is not None:
        whole["stop_reason"] = choice.stop
    return whole
