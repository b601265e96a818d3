"""What a client asks for, whatever API it speaks, and the generations that this takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.admission.terms import PRIORITY
from gateway.answers.backend import Chat, Generation, Prompt, PromptIds, PromptText
from gateway.answers.calls.json_list import calls_alone, calls_or_form
from gateway.answers.calls.own_form import own_form
from gateway.answers.calls.tools import TOOLS_FIELD, Tools
from gateway.answers.parsing import Parsing, parsing_for, reads_calls
from gateway.answers.reasoning import (
    Effort,
    by_the_templates_switch,
    may_reason,
    prompt_opens_reasoning,
    reads_effort,
    template_arguments,
)
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter
from triton_repo.contract.logprobs import check_logprobs
from triton_repo.contract.model_card import GENERATE, REASONING_EFFORT, ModelCard
from triton_repo.contract.sampling import (
    ADAPTER_FIELD,
    LOGPROBS_FIELD,
    PRIORITY_FIELD,
    PROMPT_LOGPROBS_FIELD,
    Guide,
    Sampling,
    without_unsupported,
)
from triton_repo.contract.tensors import Echo

MAX_GENERATIONS: Final = 128  # prompts times choices: what one HTTP request may start
# All tokens of one answer that is sent whole, with their alternatives: about 60 MB of JSON.
MAX_LOGPROBS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """One request for `num_choices` answers to each of `prompts`, streamed or not. `sampling` is validated.

    Attributes:
        tools: what the answers may call; None leaves calls in their text.
        reads_reasoning: whether reasoning is told apart from text; False leaves it in the text.
        effort: how much the model is to reason; None leaves it to the model and to the arguments of its template.
        keep_stop: the stop string that ends an answer is part of it.
        keep_special: so are special tokens, but for those that end it.
        echo: each answer begins with its prompt, or is the prompt alone.
        token_ids: the answers come with the ids of their tokens and of their prompts.
        truncate_prompt_tokens: of each prompt only its last so many are kept; -1: as many as leave room for the answer.
    """

    model: str
    prompts: Sequence[Prompt]
    sampling: Sampling
    num_choices: int = 1
    stops: tuple[str, ...] = ()
    stream: bool = False
    batch: bool = False  # it may wait for all that are not
    clip_max_tokens: bool = False  # where the context has less room than `max_tokens`, as many as fit
    tools: Tools | None = None
    reads_reasoning: bool = True
    effort: Effort | None = None
    keep_stop: bool = False
    keep_special: bool = False
    truncate_prompt_tokens: int | None = None
    token_ids: bool = False
    echo: Echo = ""

    @property
    def priority(self) -> float:
        return PRIORITY if self.sampling.priority is None else self.sampling.priority

    def generations(self, request_id: str, card: ModelCard, max_prompt_bytes: int) -> list[Generation]:
        """One per choice: the choices of the first prompt, then those of the second, …; seeds count up within a prompt.

        Their request ids are `request_id` and the index of the choice.

        Raises:
            InvalidRequest: more is asked for than the engine can do, or than one request may start.
        """
        card.check_kind(self.model, GENERATE)
        self._check_prompts(card, max_prompt_bytes)
        asked = _supported(self.sampling, card, self.model, echo=bool(self.echo))
        prompts, sampling, parsing = self._for_engine(card, asked)
        num_choices = len(self.prompts) * self.num_choices
        most_tokens = None if self.stream else _most_tokens(sampling, num_choices, card.max_seq_len)
        # Stop strings are found in the text as it arrives, so the engine streams even an answer that is sent whole;
        # and the tokens of a long answer are work that must not hold up the deltas of others.
        stream = self.stream or bool(self.stops) or sampling.logprobs is not None or self.token_ids
        stream = stream or (parsing is not None and parsing.most_calls is not None)
        num_last = self._num_last(sampling, card)
        samplings = [_of_choice(sampling, offset) for offset in range(self.num_choices)]
        choices = enumerate((prompt, sampling) for prompt in prompts for sampling in samplings)
        return [
            Generation(
                f"{request_id}-{index}",
                self.model,
                prompt,
                sampling,
                stream,
                self.stops,
                most_tokens,
                keep_special=self.keep_special or (parsing is not None and parsing.keep_special),
                parsing=parsing,
                keep_stop=self.keep_stop,
                clip_max_tokens=self.clip_max_tokens,
                num_last=num_last,
                token_ids=self.token_ids,
                echo=self.echo,
            )
            for index, (prompt, sampling) in choices
        ]

    def with_adapter(self, adapter: str) -> AnswerRequest:
        """
        Raises:
            InvalidRequest: it names another one.
        """
        given = self.sampling.lora_name
        if given not in (None, adapter):
            raise InvalidRequest(f"{ADAPTER_FIELD} = {given}: the model names another one, {adapter}", ADAPTER_FIELD)
        return replace(self, sampling=self.sampling.model_copy(update={ADAPTER_FIELD: adapter}))

    def ignored(self, card: ModelCard) -> tuple[str, ...]:
        """The parameters that have no effect on this model."""
        return () if reads_effort(card, self.effort) else (REASONING_EFFORT,)

    def _for_engine(self, card: ModelCard, sampling: Sampling) -> tuple[Sequence[Prompt], Sampling, Parsing | None]:
        """The prompts with what their chat template is told of reasoning, the sampling with the guide of the calls, and
        how the answers are read. A text that is continued is text, whatever it holds."""
        if not any(isinstance(prompt, Chat) for prompt in self.prompts):
            return self.prompts, sampling, None
        own = own_form(self.tools, sampling.guide, card)
        guide = None if own is not None else self._guide(card, sampling)
        # Such a guide holds from the first token on, so that the answer cannot begin with reasoning.
        is_guided = own is None and (guide or sampling.guide) is not None
        must_not_reason = is_guided and card.reasoning is not None and card.reasoning.switch is not None
        effort = "none" if must_not_reason else self.effort
        prompts = [told(prompt, card, effort, self.model, override=must_not_reason) for prompt in self.prompts]
        if guide is not None:
            return prompts, sampling.guided_by(guide), Parsing(tools=self.tools, is_list=True)
        given = [prompt.template_arguments() for prompt in prompts if isinstance(prompt, Chat)]
        is_open = any(prompt_opens_reasoning(card.reasoning, arguments) for arguments in given)
        if own is not None:
            reasons = any(may_reason(card.reasoning, arguments) for arguments in given)
            sampling = sampling.guided_by(own.guide(card.reasoning if reasons else None, is_open=is_open))
        reasoning = card.reasoning if self.reads_reasoning and not is_guided else None
        return prompts, sampling, parsing_for(card, self.tools, reasoning, own, is_open=is_open)

    def _guide(self, card: ModelCard, sampling: Sampling) -> Guide | None:
        """That of answers which are calls, or must not be anything but calls or what they are to look like."""
        if self.tools is None:
            return None
        if self.tools.choice == "required":
            return calls_alone(self.tools, card, self.model)
        if not reads_calls(card):
            reason = "has no parser of tool calls; its spec may name one, serve.tool_parser"
            raise UnsupportedParameter(f"{TOOLS_FIELD}: model {self.model} {reason}", TOOLS_FIELD)
        return None if sampling.guide is None else calls_or_form(self.tools, sampling.guide)

    def _num_last(self, sampling: Sampling, card: ModelCard) -> int | None:
        if self.truncate_prompt_tokens != -1:
            return self.truncate_prompt_tokens
        return max(1, card.max_seq_len - (sampling.max_tokens or 1))

    def _check_prompts(self, card: ModelCard, max_bytes: int) -> None:
        if not card.chat and any(isinstance(prompt, Chat) for prompt in self.prompts):
            rule = "has no chat template, so it takes text prompts only"
            raise InvalidRequest(f"messages: model {self.model} {rule}", "messages")
        for prompt in self.prompts:
            if self.truncate_prompt_tokens is None or isinstance(prompt, PromptText):
                check_fits(prompt, card)
        n, num_prompts = self.num_choices, len(self.prompts)
        if n * num_prompts > MAX_GENERATIONS:
            rule = f"at most {MAX_GENERATIONS} answers per request"
            raise InvalidRequest(f"n = {n} for {num_prompts} prompts: {rule}", "n")
        # Every choice takes its prompt along to the engine: a small body could be gigabytes on the way that all share.
        num_bytes = n * sum(prompt.num_bytes for prompt in self.prompts) if n > 1 else 0
        if num_bytes > max_bytes:
            rule = f"the prompts of all answers together may have {max_bytes} bytes, these would have {num_bytes}"
            raise InvalidRequest(f"n = {n}: {rule}", "n")


def told(prompt: Prompt, card: ModelCard, effort: Effort | None, model: str, *, override: bool = False) -> Prompt:
    """The chat whose template is told of an effort: by arguments that those of its client override, unless `override`.

    Raises:
        UnsupportedParameter: the model is not to reason, and always does.
    """
    arguments = template_arguments(card, effort, model)
    if not isinstance(prompt, Chat):
        return prompt
    sent = prompt.template_arguments()
    given = by_the_templates_switch(card, sent)
    if not arguments and given is sent:
        return prompt
    return prompt.with_template_arguments({**given, **arguments} if override else {**arguments, **given})


def check_fits(prompt: Prompt, card: ModelCard) -> None:
    """Reject what cannot fit into the context before it is sent to the engine. What a chat's template makes of its
    messages is not known here."""
    context = f"prompt: this model's maximum context length is {card.max_seq_len} tokens"
    if isinstance(prompt, PromptIds) and prompt.num_ids >= card.max_seq_len:
        rest = f"the prompt has {prompt.num_ids}, which leaves no room for an answer"
        raise ContextLengthExceeded(f"{context}, {rest}", "prompt")
    if isinstance(prompt, PromptText) and len(prompt.text) > (card.max_prompt_bytes or math.inf):
        raise ContextLengthExceeded(f"{context}, and {len(prompt.text)} characters of text cannot fit", "prompt")


def _supported(sampling: Sampling, card: ModelCard, model: str, *, echo: bool) -> Sampling:
    if PRIORITY_FIELD in card.unsupported:  # then it decides alone whose turn it is here, before the engine
        sampling = sampling.model_copy(update={PRIORITY_FIELD: None})
    supported = without_unsupported(sampling, card.rejected, f"the {card.runtime} runtime of model {model}")
    check_logprobs(supported, card, of_prompt=echo)
    return supported


def _of_choice(sampling: Sampling, offset: int) -> Sampling:
    """With a seed of its own; the first choice of a prompt tells the prompt's logprobs for all of them."""
    if not offset or (sampling.seed is None and sampling.prompt_logprobs is None):
        return sampling
    seed = None if sampling.seed is None else (sampling.seed + offset) % 2**64
    return sampling.model_copy(update={"seed": seed, PROMPT_LOGPROBS_FIELD: None})


def _most_tokens(sampling: Sampling, num_choices: int, max_seq_len: int) -> int | None:
    """How many tokens of each whole answer may be kept with their logprobs; None: as many as the engine writes.

    Raises:
        InvalidRequest: the request itself asks for more.
    """
    if sampling.logprobs is None:
        return None
    most = MAX_LOGPROBS // (num_choices * (1 + sampling.logprobs))
    if sampling.max_tokens is not None and (asked := min(sampling.max_tokens, max_seq_len)) > most:
        raise InvalidRequest(
            f"{LOGPROBS_FIELD}: {num_choices} answers of up to {asked} tokens, each with {sampling.logprobs} "
            f"alternatives, may have {num_choices * asked * (1 + sampling.logprobs)} logprobs; at most {MAX_LOGPROBS} "
            "in one body: stream the answer, or lower max_tokens",
            LOGPROBS_FIELD,
        )
    return most
