"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson

from gateway.answers.events import Event, FinalReason, Finish, Text, Usage, WholeAnswer, WholeChoice
from gateway.answers.tokens import Token
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Call, Head
from gateway.dialects.openai.answers import completion as answers
from gateway.dialects.openai.chunks import Chunks, StreamEnd, completion_logprobs, usage_json
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.parameters import ignored_parameters, reject_unsupported
from gateway.dialects.openai.ranking import Ranking
from gateway.dialects.openai.requests.completion import CompletionRequest

_AFTER_TEXT: Final = b',"logprobs":null,"finish_reason":null}'


class Completions:
    dialect: Final = OPENAI
    body: Final = CompletionRequest
    answer: Final = answers.TextCompletion
    event: Final = answers.TextStreamEvent

    def parse(self, fields: dict[str, Any]) -> Call:
        reject_unsupported(fields, CompletionRequest)
        body = parse_body(CompletionRequest, fields)
        request = replace(body.answer_request(body.prompts), echo=body.echo_of)
        form = Form(
            num_choices=len(request.prompts) * body.num_choices,
            include_usage=body.include_usage,
            continuous_usage=body.continuous_usage,
            list_logprobs=body.logprobs is not None,
            ranking=Ranking(body.num_choices, body.num_kept) if body.num_choices > body.num_kept else None,
        )
        return Call(
            request, partial(CompletionEncoder, form=form), ignored_parameters(fields, CompletionRequest), body.sent_as
        )


@dataclass(frozen=True, slots=True)
class Form:
    """What of an answer is written, as its request asks for it.

    Attributes:
        continuous_usage: every chunk has the counts at its time.
        list_logprobs: of the tokens, where there are any.
        ranking: of more choices than are asked for.
    """

    num_choices: int = 1
    include_usage: bool = False
    continuous_usage: bool = False
    list_logprobs: bool = True
    ranking: Ranking | None = None


class CompletionEncoder(StreamEnd):
    """A completion is text alone: reasoning and tool calls have no place in it."""

    def __init__(self, head: Head, form: Form) -> None:
        self._head = head
        self._form = form
        self._keys: answers.TextCompletionHead = {
            "id": f"cmpl-{head.id}",
            "object": "text_completion",
            "created": head.created,
        }
        self._keys_after: answers.TextCompletionTail = {"model": head.model, "system_fingerprint": head.fingerprint}
        usage_so_far = head.usage if form.continuous_usage else None
        self._chunks = Chunks(self._keys, self._keys_after, form.include_usage, usage_so_far)
        self._after_text = [b',"index":%d' % index + _AFTER_TEXT for index in range(form.num_choices)]

    def start(self) -> bytes:
        return b""

    def event(self, event: Event) -> bytes:
        match event:
            case Text(index, text, tokens):
                return self._text(index, text, tokens)
            case Finish(index, reason, stop):
                return self._chunks.chunk(orjson.dumps(_end(index, reason, stop)))
            case Usage():
                return self._chunks.usage(event)
            case _:
                return b""

    def whole(self, answer: WholeAnswer) -> bytes:
        kept = self._form.ranking.best(answer.choices) if self._form.ranking else answer.choices
        body: answers.TextCompletion = {
            **self._keys,
            **self._keys_after,
            "choices": [self._whole(index, choice) for index, choice in enumerate(kept)],
            "usage": usage_json(answer.usage),
        }
        return orjson.dumps(body)

    def _whole(self, index: int, choice: WholeChoice) -> answers.TextChoice:
        whole: answers.TextChoice = {
            "text": choice.text,
            "index": index,
            "logprobs": completion_logprobs(choice.tokens) if self._form.list_logprobs else None,
            "finish_reason": choice.reason,
        }
        if choice.stop is not None:
            whole["stop_reason"] = choice.stop
        return whole

    def _text(self, index: int, text: str, tokens: Sequence[Token] | None) -> bytes:
        if tokens:
            return self._chunks.chunk(orjson.dumps(_part(index, text, tokens)))
        return self._chunks.chunk(b'{"text":' + orjson.dumps(text) + self._after_text[index]) if text else b""


def _part(index: int, text: str, tokens: Sequence[Token]) -> answers.TextChunkChoice:
    return {"text": text, "index": index, "logprobs": completion_logprobs(tokens), "finish_reason": None}


def _end(index: int, reason: FinalReason, stop: str | None) -> answers.TextChunkChoice:
    choice: answers.TextChunkChoice = {"text": "", "index": index, "logprobs": None, "finish_reason": reason}
    if stop is not None:
        choice["stop_reason"] = stop
    return choice
