"""What of an answer is written, as its request asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from gateway.answers.events import PromptTokens
from gateway.answers.tokens import Token
from gateway.dialects.openai.answers.tokens import OfChoice, OfPrompt
from gateway.dialects.openai.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Form:
    """
    Attributes:
        num_choices: of the whole answer; `choices_per_prompt` of one prompt.
        continuous_usage: every chunk has the counts at its time.
        list_logprobs: of the tokens, where there are any.
        token_ids: those of the prompts and of the answers.
        prompt_logprobs: those of the prompts.
    """

    num_choices: int = 1
    choices_per_prompt: int = 1
    include_usage: bool = False
    continuous_usage: bool = False
    list_logprobs: bool = True
    token_ids: bool = False
    prompt_logprobs: bool = False

    def of_choice(self, tokens: Sequence[Token] | None, stop: str | None = None) -> OfChoice:
        """What a choice, or a chunk of one, tells besides its text and its logprobs."""
        told: OfChoice = {}
        if stop is not None:
            told["stop_reason"] = stop
        if self.token_ids:
            told["token_ids"] = [token.id for token in tokens or () if token.id is not None]
        return told

    def of_prompt(self, prompt: PromptTokens | None) -> OfPrompt:
        told: OfPrompt = {}
        if prompt is not None and self.token_ids:
            told["prompt_token_ids"] = [*prompt.ids]
        if prompt is not None and self.prompt_logprobs:
            told["prompt_logprobs"] = orjson.Fragment(prompt.logprobs)
        return told


@dataclass(frozen=True, slots=True)
class ChatForm(Form):
    """`as_function`: a call is written as `function_call`. `custom`: the tools whose calls have an input."""

    include_reasoning: bool = True
    as_function: bool = False
    custom: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CompletionForm(Form):
    """`ranking` is of more choices than are asked for."""

    ranking: Ranking | None = None
