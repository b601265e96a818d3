"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from gateway.answers.backend import Chat, Prompt
from gateway.dialects.openai.logprobs import Token, chat_logprobs
from gateway.dialects.openai.messages import template_message
from gateway.dialects.openai.requests import ChatCompletionRequest
from gateway.dialects.openai.shape import FinalReason, Head, Json, Usage
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.tensors import ModelCard


class ChatShape:
    body: Final = ChatCompletionRequest
    id_prefix: Final = "chatcmpl-"

    def prompts(self, body: ChatCompletionRequest, card: ModelCard) -> list[Prompt]:
        if not card.chat:
            raise InvalidRequest(f"messages: model {body.model} has no chat template; use /v1/completions", "messages")
        chat = {
            "messages": [template_message(message) for message in body.messages],
            "tools": None,
            "template_arguments": body.chat_template_kwargs or {},
        }
        return [Chat(orjson.dumps(chat))]

    def opening(self, index: int) -> Json:
        return _delta(index, {"role": "assistant", "content": ""}, None)

    def addition(self, index: int, text: str, tokens: Sequence[Token] | None = None) -> Json:
        return _delta(index, {"content": text}, None, tokens)

    def ending(self, index: int, reason: FinalReason) -> Json:
        return _delta(index, {}, reason)

    def chunk(self, head: Head, choices: Sequence[Json]) -> Json:
        return {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
            "choices": choices,
        }

    def choice(self, index: int, text: str, reason: FinalReason, tokens: Sequence[Token] | None = None) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": chat_logprobs(tokens), "finish_reason": reason}

    def whole(self, head: Head, choices: Sequence[Json], usage: Usage) -> Json:
        return {
            "id": head.id,
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "choices": choices,
            "usage": usage.to_json(),
            "system_fingerprint": head.fingerprint,
        }


def _delta(index: int, delta: Json, reason: FinalReason | None, tokens: Sequence[Token] | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": chat_logprobs(tokens), "finish_reason": reason}
