"""A text completion, whole and in chunks, which have one form. Source: OpenAI's reference, "Completions (legacy)"."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypeAliasType, TypedDict

from gateway.answers.events import FinalReason
from gateway.dialects.openai.answers.error import ErrorBody
from gateway.dialects.openai.answers.tokens import CompletionLogprobs, CompletionUsage, OfChoice, OfPrompt


class TextChunkChoice(OfChoice, OfPrompt):
    """The first one of a choice tells of its prompt, where that was asked for."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: FinalReason | None


class TextCompletionHead(TypedDict):
    id: str
    object: Literal["text_completion"]
    created: int


class TextCompletionTail(TypedDict):
    model: str
    system_fingerprint: str


class TextCompletionChunk(TextCompletionHead, TextCompletionTail):
    """`usage` is there where it was asked for, and null before the last chunk, unless each was to have it."""

    choices: list[TextChunkChoice]
    usage: NotRequired[CompletionUsage | None]


class TextChoice(OfChoice, OfPrompt):
    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: FinalReason


class TextCompletion(TextCompletionHead, TextCompletionTail):
    choices: list[TextChoice]
    usage: CompletionUsage


TextStreamEvent = TypeAliasType("TextStreamEvent", TextCompletionChunk | ErrorBody)
