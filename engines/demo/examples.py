"""Corpus to training batches: varied conversations, rendered as a server would, the loss on the assistant alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from engines.demo.conversations import CLOSINGS, Answer, Conversation, Corpus, Message, bare, exchange, plain

TOKENS_PER_BATCH = 768
MAX_EXCHANGES = 6
FALLBACKS_PER_EPOCH = 16
INVENTED_PER_EPOCH = 200
OPENINGS = 0.6  # the share of all questions that one epoch practises
FOLLOW_UPS = 0.25  # the share of openings that come after one or two unrelated exchanges
OPENING = 6  # tokens; whoever has begun an answer right has chosen it, and the rest follows
IGNORED = -100  # the label that torch's cross_entropy skips


@dataclass(frozen=True)
class Example:
    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Batch:
    ids: Tensor
    labels: Tensor


class Encoder:
    """Turns conversations into ids exactly as a server would, and finds the assistant's own tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._header = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
        self._end: int = tokenizer.eos_token_id

    def encode(self, conversation: Conversation) -> Example:
        ids = self._tokenizer.encode(render(self._tokenizer, conversation), add_special_tokens=False)
        labels = [IGNORED] * len(ids)
        at = 0
        while at < len(ids):
            if ids[at : at + len(self._header)] != self._header:
                at += 1
                continue
            start = at + len(self._header)
            at = ids.index(self._end, start) + 1
            labels[start:at] = ids[start:at]
        return Example(ids, labels)

    def encode_opening(self, conversation: Conversation) -> Example:
        """Only up to the first tokens of the last answer: cheap practice in choosing an answer."""
        whole = self.encode(conversation)
        width = len(self._header)
        start = max(at + width for at in range(len(whole.ids)) if whole.ids[at : at + width] == self._header)
        return Example(whole.ids[: start + OPENING], whole.labels[: start + OPENING])


def render(tokenizer: PreTrainedTokenizerFast, conversation: Conversation, *, prompt: bool = False) -> str:
    """The text of a conversation; with `prompt`, up to where the assistant begins to speak."""
    messages = list(conversation.messages)
    tools: list[Any] | None = list(conversation.tools) or None
    return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=prompt))


def epoch(corpus: Corpus, rng: random.Random) -> Iterator[Conversation]:
    """Each answer once, a greeting's twice, under a random question of it, in conversations of several exchanges."""
    answers = [*corpus.answers, *(answer for answer in corpus.answers if answer.greeting)]
    asked = [exchange(_typed(rng.choice(answer.asks), rng), answer.answer) for answer in answers]
    unknown = rng.sample(corpus.fallback.asks, min(FALLBACKS_PER_EPOCH, len(corpus.fallback.asks)))
    asked += [exchange(_typed(ask, rng), corpus.fallback.answer) for ask in unknown]
    rng.shuffle(asked)
    while asked:
        taken = [asked.pop() for _ in range(min(rng.randint(1, MAX_EXCHANGES), len(asked)))]
        yield _dressed(Conversation(tuple(message for one in taken for message in one.messages)), corpus, rng)
    for dialogue in corpus.dialogues:
        yield replace(dialogue, tools=_widened(dialogue, corpus, rng))


def openings(corpus: Corpus, rng: random.Random) -> Iterator[Conversation]:
    """A share of the questions, new off-topic ones among them: most by themselves, some as a follow-up."""
    fallback = corpus.fallback
    invented = tuple(rng.choice(rng.choice(fallback.invented)) for _ in range(INVENTED_PER_EPOCH))
    for answer in (*corpus.answers, Answer((*fallback.asks, *invented), fallback.answer)):
        for ask in answer.asks:
            if rng.random() < OPENINGS:
                yield _after_others(exchange(_typed(ask, rng), answer.answer), corpus, rng)


def _after_others(conversation: Conversation, corpus: Corpus, rng: random.Random) -> Conversation:
    """Now and then with one or two unrelated exchanges before; of short answers, for they cost computing too."""
    if rng.random() >= FOLLOW_UPS:
        return conversation
    before: list[Message] = []
    for _ in range(rng.randint(1, 2)):
        one = min(rng.sample(corpus.answers, 3), key=lambda answer: len(answer.answer))
        before += exchange(_typed(rng.choice(one.asks), rng), one.answer).messages
    return Conversation((*before, *conversation.messages))


def batches(corpus: Corpus, encoder: Encoder, pad_id: int, rng: random.Random) -> Iterator[Batch]:
    """One epoch, bucketed by length so that little is padding."""
    examples = [encoder.encode(one) for one in epoch(corpus, rng)]
    examples += [encoder.encode_opening(one) for one in openings(corpus, rng)]
    examples.sort(key=lambda example: len(example.ids))
    groups: list[list[Example]] = [[]]
    for example in examples:
        if (len(groups[-1]) + 1) * len(example.ids) > TOKENS_PER_BATCH and groups[-1]:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    yield from (_pad(group, pad_id) for group in groups)


def _pad(group: list[Example], pad_id: int) -> Batch:
    # On the right: under causal attention no real token ever sees the padding, so no mask is needed.
    width = max(len(example.ids) for example in group)
    ids = [example.ids + [pad_id] * (width - len(example.ids)) for example in group]
    labels = [example.labels + [IGNORED] * (width - len(example.ids)) for example in group]
    return Batch(torch.tensor(ids), torch.tensor(labels))


def _typed(ask: str, rng: random.Random) -> str:
    """The question as people type it: now and then hurried or punctuated otherwise, rarely with a letter missing."""
    draw = rng.random()
    if draw < 0.25:
        return plain(ask)
    if draw < 0.3 and len(ask) > 12:
        at = rng.randrange(4, len(ask))
        return ask[:at] + ask[at + 1 :]
    if draw < 0.5:
        return rng.choice((bare(ask), plain(ask))) + rng.choice(CLOSINGS)
    if draw < 0.52:
        return ask.upper()
    if draw < 0.57:
        return ask.replace(" is ", "'s ", 1)
    return ask


def _dressed(conversation: Conversation, corpus: Corpus, rng: random.Random) -> Conversation:
    """Now and then with a system prompt or tools that the answers do not depend on."""
    system: tuple[Message, ...] = ()
    if rng.random() < 0.2:
        system = ({"role": "system", "content": rng.choice(corpus.system_prompts)},)
    tools = corpus.tools if rng.random() < 0.04 else ()
    return Conversation(
        system + conversation.messages, tuple(rng.sample(tools, rng.randint(1, len(tools)))) if tools else ()
    )


def _widened(dialogue: Conversation, corpus: Corpus, rng: random.Random) -> tuple[dict[str, object], ...]:
    """Half of the time, the dialogue's tools among others, in any order: the call must not depend on the list."""
    if not dialogue.tools or rng.random() < 0.5:
        return dialogue.tools
    others = [tool for tool in corpus.tools if tool not in dialogue.tools]
    tools = [*dialogue.tools, *rng.sample(others, rng.randint(0, len(others)))]
    rng.shuffle(tools)
    return tuple(tools)
