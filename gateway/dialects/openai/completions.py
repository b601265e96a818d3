"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import orjson

from gateway.answers.events import Event, FinalReason, Finish, Text, Usage, WholeAnswer
from gateway.answers.tokens import Token
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Call, Head
from gateway.dialects.openai.chunks import Chunks, Json, StreamEnd, completion_logprobs, usage_json
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.parameters import ignored_parameters, reject_unsupported
from gateway.dialects.openai.requests.completion import CompletionRequest

_AFTER_TEXT: Final = b',"logprobs":null,"finish_reason":null}'


class Completions:
    dialect: Final = OPENAI
    body: Final = CompletionRequest

    def parse(self, fields: dict[str, Any]) -> Call:
        reject_unsupported(fields, CompletionRequest)
        body = parse_body(CompletionRequest, fields)
        request = body.answer_request(body.prompts)
        num_choices = len(request.prompts) * body.num_choices
        encoder = partial(CompletionEncoder, num_choices=num_choices, include_usage=body.include_usage)
        return Call(request, encoder, ignored_parameters(fields, CompletionRequest), body.form_sent_as)


class CompletionEncoder(StreamEnd):
    """A completion is text alone: reasoning and tool calls have no place in it."""

    def __init__(self, head: Head, num_choices: int, include_usage: bool) -> None:
        self._keys = {"id": f"cmpl-{head.id}", "object": "text_completion", "created": head.created}
        self._keys_after = {"model": head.model, "system_fingerprint": head.fingerprint}
        self._chunks = Chunks(self._keys, self._keys_after, include_usage)
        self._after_text = [b',"index":%d' % index + _AFTER_TEXT for index in range(num_choices)]

    def start(self) -> bytes:
        return b""

    def event(self, event: Event) -> bytes:
        match event:
            case Text(index, text, tokens):
                return self._text(index, text, tokens)
            case Finish(index, reason):
                return self._chunks.chunk(orjson.dumps(_choice(index, "", reason)))
            case Usage():
                return self._chunks.usage(event)
            case _:
                return b""

    def whole(self, answer: WholeAnswer) -> bytes:
        choices = [
            _choice(index, choice.text, choice.reason, choice.tokens) for index, choice in enumerate(answer.choices)
        ]
        rest = {**self._keys_after, "choices": choices, "usage": usage_json(answer.usage)}
        return orjson.dumps({**self._keys, **rest})

    def _text(self, index: int, text: str, tokens: Sequence[Token] | None) -> bytes:
        if tokens:
            return self._chunks.chunk(orjson.dumps(_choice(index, text, None, tokens)))
        return self._chunks.chunk(b'{"text":' + orjson.dumps(text) + self._after_text[index]) if text else b""


def _choice(index: int, text: str, reason: FinalReason | None, tokens: Sequence[Token] | None = None) -> Json:
    return {"text": text, "index": index, "logprobs": completion_logprobs(tokens), "finish_reason": reason}
