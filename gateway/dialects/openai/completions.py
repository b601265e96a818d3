"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from gateway.answers.events import Event, Finish, PromptTokens, Text, Usage, WholeAnswer, WholeChoice
from gateway.answers.tokens import Token
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Call, Head
from gateway.dialects.openai.answers import completion as answers
from gateway.dialects.openai.answers.tokens import CompletionLogprobs
from gateway.dialects.openai.chunks import Chunks, StreamEnd, completion_logprobs, usage_json
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.form import CompletionForm
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
        form = CompletionForm(
            num_choices=len(request.prompts) * body.num_choices,
            choices_per_prompt=body.num_choices,
            include_usage=body.include_usage,
            continuous_usage=body.continuous_usage,
            list_logprobs=body.logprobs is not None,
            token_ids=bool(body.return_token_ids),
            prompt_logprobs=body.prompt_logprobs is not None,
            ranking=Ranking(body.num_choices, body.num_kept) if body.num_choices > body.num_kept else None,
        )
        ignored = ignored_parameters(fields, CompletionRequest)
        return Call(request, partial(CompletionEncoder, form=form), ignored, body.sent_as)


class CompletionEncoder(StreamEnd):
    """A completion is text alone: reasoning and tool calls have no place in it."""

    def __init__(self, head: Head, form: CompletionForm) -> None:
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
            case Finish(index):
                return self._part(index, finish=event)
            case Usage():
                return self._chunks.usage(event)
            case PromptTokens(index):
                return self._part(index, prompt=event)
            case _:
                return b""

    def whole(self, answer: WholeAnswer) -> bytes:
        for index, choice in enumerate(answer.choices):  # the first of a prompt may tell more of it than the others
            choice.prompt = answer.choices[index - index % self._form.choices_per_prompt].prompt
        kept = self._form.ranking.best(answer.choices) if self._form.ranking else answer.choices
        body: answers.TextCompletion = {
            **self._keys,
            **self._keys_after,
            "choices": [self._whole(index, choice) for index, choice in enumerate(kept)],
            "usage": usage_json(answer.usage),
        }
        return orjson.dumps(body)

    def _whole(self, index: int, choice: WholeChoice) -> answers.TextChoice:
        return {
            "text": choice.text,
            "index": index,
            "logprobs": self._logprobs(choice.tokens),
            "finish_reason": choice.reason,
            **self._form.of_choice(choice.tokens, choice.stop),
            **self._form.of_prompt(choice.prompt),
        }

    def _text(self, index: int, text: str, tokens: Sequence[Token] | None) -> bytes:
        if tokens or (text and self._form.token_ids):
            return self._part(index, text, tokens)
        return self._chunks.chunk(b'{"text":' + orjson.dumps(text) + self._after_text[index]) if text else b""

    def _part(
        self,
        index: int,
        text: str = "",
        tokens: Sequence[Token] | None = None,
        finish: Finish | None = None,
        prompt: PromptTokens | None = None,
    ) -> bytes:
        choice: answers.TextChunkChoice = {
            "text": text,
            "index": index,
            "logprobs": self._logprobs(tokens),
            "finish_reason": finish.reason if finish else None,
            **self._form.of_choice(tokens, finish.stop if finish else None),
            **self._form.of_prompt(prompt),
        }
        return self._chunks.chunk(orjson.dumps(choice))

    def _logprobs(self, tokens: Sequence[Token] | None) -> CompletionLogprobs | None:
        return completion_logprobs(tokens) if self._form.list_logprobs else None
