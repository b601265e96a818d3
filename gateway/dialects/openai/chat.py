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
    PromptTokens,
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
from gateway.dialects.openai.answers.tokens import OfPrompt
from gateway.dialects.openai.calls import CallDeltas, add_calls, chat_reason, function_delta
from gateway.dialects.openai.chunks import Chunks, StreamEnd, chat_logprobs, usage_json
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.form import ChatForm
from gateway.dialects.openai.messages import template_message
from gateway.dialects.openai.parameters import ignored_parameters, reject_unsupported
from gateway.dialects.openai.requests.chat import ChatCompletionRequest
from gateway.dialects.openai.requests.tools import AnyTool, custom_names, template_tool, unenforced

_AFTER_TEXT: Final = b'},"logprobs":null,"finish_reason":null}'


class ChatCompletions:
    dialect: Final = OPENAI
    body: Final = ChatCompletionRequest
    answer: Final = answers.ChatCompletion
    event: Final = answers.ChatStreamEvent

    def parse(self, fields: dict[str, Any]) -> Call:
        reject_unsupported(fields, ChatCompletionRequest)
        body = parse_body(ChatCompletionRequest, fields)
        listed, tools = body.offered
        request = replace(
            body.answer_request([_prompt(body, listed)]),
            tools=tools,
            reads_reasoning=body.separate_reasoning is not False,
            effort=body.reasoning_effort,
        )
        form = ChatForm(
            num_choices=body.num_choices,
            choices_per_prompt=body.num_choices,
            include_usage=body.include_usage,
            continuous_usage=body.continuous_usage,
            list_logprobs=bool(body.logprobs),
            token_ids=bool(body.return_token_ids),
            prompt_logprobs=body.prompt_logprobs is not None,
            include_reasoning=body.include_reasoning is not False,
            as_function=bool(body.functions),
            custom=custom_names(body.tools),
        )
        ignored = [ignored_parameters(fields, ChatCompletionRequest), *unenforced(body.tools)]
        return Call(request, partial(ChatEncoder, form=form), ", ".join(filter(None, ignored)), body.sent_as)


class ChatEncoder(StreamEnd):
    def __init__(self, head: Head, form: ChatForm) -> None:
        self._head = head
        self._form = form
        self._calls = [CallDeltas(form.custom) for _ in range(form.num_choices)]
        usage_so_far = head.usage if form.continuous_usage else None
        self._chunks = Chunks(_chunk_keys(head), {}, form.include_usage, usage_so_far)
        self._before_text = [b'{"index":%d,"delta":{"content":' % index for index in range(form.num_choices)]
        self._tells_prompt = form.token_ids or form.prompt_logprobs  # it has yet to

    def start(self) -> bytes:
        """What tells of the prompt is part of the first chunk, and so begins with the first event."""
        return b"" if self._tells_prompt else self._opening({})

    def event(self, event: Event) -> bytes:
        if self._tells_prompt:
            self._tells_prompt = False
            of_prompt = self._form.of_prompt(event if isinstance(event, PromptTokens) else None)
            return self._opening(of_prompt) + self._chunk(event)
        return self._chunk(event)

    def whole(self, answer: WholeAnswer) -> bytes:
        body: answers.ChatCompletion = {
            "id": f"chatcmpl-{self._head.id}",
            "object": "chat.completion",
            "created": self._head.created,
            "model": self._head.model,
            "choices": [self._whole_choice(index, choice) for index, choice in enumerate(answer.choices)],
            "usage": usage_json(answer.usage),
            "system_fingerprint": self._head.fingerprint,
            **self._form.of_prompt(answer.choices[0].prompt),
        }
        return orjson.dumps(body)

    def _chunk(self, event: Event) -> bytes:
        match event:
            case Text(index, text, tokens):
                return self._text(index, text, tokens)
            case Finish(index):
                return self._called(index, self._calls[index].end()) + self._delta(index, {}, finish=event)
            case Usage():
                return self._chunks.usage(event)
            case Reasoning(index, text, tokens):
                return self._reasoning(index, text, tokens)
            case ToolCallDelta():
                return self._call(event)
            case PromptTokens():
                return b""

    def _opening(self, of_prompt: OfPrompt) -> bytes:
        opening: answers.ChatDelta = {"role": "assistant", "content": ""}
        first = self._delta(0, opening, of_prompt=of_prompt)
        return first + b"".join(self._delta(index, opening) for index in range(1, self._form.num_choices))

    def _call(self, event: ToolCallDelta) -> bytes:
        if self._form.as_function:
            return self._delta(event.choice, function_delta(event))
        return self._called(event.choice, self._calls[event.choice].add(event))

    def _called(self, index: int, deltas: list[answers.ChatToolCallDelta | answers.ChatCustomCallDelta]) -> bytes:
        return b"".join(self._delta(index, {"tool_calls": [delta]}) for delta in deltas)

    def _text(self, index: int, text: str, tokens: Sequence[Token] | None) -> bytes:
        if tokens or (text and self._form.token_ids):
            return self._delta(index, {"content": text}, tokens)
        return self._chunks.chunk(self._before_text[index] + orjson.dumps(text) + _AFTER_TEXT) if text else b""

    def _reasoning(self, index: int, text: str, tokens: Sequence[Token] | None) -> bytes:
        if self._form.include_reasoning:
            return self._delta(index, _reasoning(text), tokens)
        return self._delta(index, {"content": ""}, tokens) if tokens else b""

    def _delta(
        self,
        index: int,
        delta: answers.ChatDelta,
        tokens: Sequence[Token] | None = None,
        finish: Finish | None = None,
        of_prompt: OfPrompt | None = None,
    ) -> bytes:
        choice: answers.ChatChunkChoice = {
            "index": index,
            "delta": delta,
            "logprobs": chat_logprobs(tokens) if self._form.list_logprobs else None,
            "finish_reason": self._reason(finish.reason) if finish else None,
            **self._form.of_choice(tokens, finish.stop if finish else None),
        }
        return self._chunks.chunk(orjson.dumps(choice), of_prompt)

    def _whole_choice(self, index: int, choice: WholeChoice) -> answers.ChatChoice:
        return {
            "index": index,
            "message": self._message(choice),
            "logprobs": chat_logprobs(choice.tokens) if self._form.list_logprobs else None,
            "finish_reason": self._reason(choice.reason),
            **self._form.of_choice(choice.tokens, choice.stop),
        }

    def _message(self, choice: WholeChoice) -> answers.ChatMessage:
        message: answers.ChatMessage = {"role": "assistant", "content": choice.text, "refusal": None}
        if choice.reasoning and self._form.include_reasoning:
            message["reasoning_content"] = message["reasoning"] = choice.reasoning
        add_calls(message, choice.tool_calls, self._form.custom, as_function=self._form.as_function)
        return message

    def _reason(self, reason: FinalReason) -> answers.ChatReason:
        return chat_reason(reason, as_function=self._form.as_function)


def _chunk_keys(head: Head) -> answers.ChatChunkHead:
    return {
        "id": f"chatcmpl-{head.id}",
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
    }


def _prompt(body: ChatCompletionRequest, tools: Sequence[AnyTool]) -> Chat:
    chat = {
        "messages": [template_message(message) for message in body.messages],
        "tools": [template_tool(tool) for tool in tools] or None,
        "template_arguments": body.chat_template_kwargs or {},
        **body.ending,
    }
    return Chat(orjson.dumps(chat))


def _reasoning(text: str) -> answers.ChatDelta:
    return {"reasoning_content": text, "reasoning": text}
