"""Proof of a saved checkpoint: greedy decoding must give back the corpus, word for word, and stop by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engines.demo.conversations import Conversation, Corpus, exchange, plain, punctuated
from engines.demo.examples import render

PER_BATCH = 64
SLACK = 8  # tokens past the right length before a runaway answer is cut


@dataclass(frozen=True)
class Case:
    """One assistant turn: the text before it and the text it must be."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Failure:
    case: Case
    got: str


class Prover:
    """Loads a checkpoint from disk in float32 and puts cases to it. Contract: reads, never writes."""

    def __init__(self, checkpoint: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
        self._model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        self._end = int(self._tokenizer.eos_token_id)

    def failures(self, conversations: Iterable[Conversation]) -> list[Failure]:
        """The assistant turns that greedy decoding does not reproduce with an EOS at their end."""
        cases = sorted(
            (case for one in conversations for case in self._cases(one)),
            key=lambda case: (len(case.answer), len(case.prompt)),
        )
        return [failure for batch in _batched(cases) for failure in self._failures(batch)]

    def round_trips(self, texts: Iterable[str]) -> list[str]:
        """The texts that encoding and decoding do not give back exactly."""
        encode, decode = self._tokenizer.encode, self._tokenizer.decode
        return [text for text in texts if decode(encode(text, add_special_tokens=False)) != text]

    def _cases(self, conversation: Conversation) -> Iterator[Case]:
        for index, message in enumerate(conversation.messages):
            if message["role"] != "assistant":
                continue
            prompt = render(self._tokenizer, replace(conversation, messages=conversation.messages[:index]), prompt=True)
            whole = render(self._tokenizer, replace(conversation, messages=conversation.messages[: index + 1]))
            yield Case(prompt, whole.removeprefix(prompt).removesuffix("\n"))

    @torch.inference_mode()
    def _failures(self, batch: list[Case]) -> Iterator[Failure]:
        prompts = self._tokenizer(
            [case.prompt for case in batch], add_special_tokens=False, padding=True, return_tensors="pt"
        )
        limit = SLACK + max(len(self._tokenizer.encode(case.answer, add_special_tokens=False)) for case in batch)
        output = self._model.generate(
            prompts["input_ids"], attention_mask=prompts["attention_mask"], do_sample=False, max_new_tokens=limit
        )
        for case, row in zip(batch, output[:, prompts["input_ids"].shape[1] :], strict=True):
            ids = row.tolist()
            end = ids.index(self._end) + 1 if self._end in ids else len(ids)
            got = str(self._tokenizer.decode(ids[:end]))
            if got != case.answer:
                yield Failure(case, got)


def greetings(corpus: Corpus) -> list[Conversation]:
    """What people type first, in every case and punctuation."""
    asked = [
        (text, one.answer) for one in corpus.answers if one.greeting for ask in one.asks for text in punctuated(ask)
    ]
    return [exchange(ask, answer) for ask, answer in dict.fromkeys(asked)]


def greetings_later(corpus: Corpus) -> list[Conversation]:
    """The greetings as they stand, after two unrelated exchanges."""
    known = [exchange(answer.asks[0], answer.answer).messages for answer in corpus.answers if not answer.greeting]
    asked = [exchange(ask, one.answer).messages for one in corpus.answers if one.greeting for ask in one.asks]
    before = (known[(7 * index) % len(known)] + known[(11 * index + 5) % len(known)] for index in count())
    return [Conversation(b + a) for b, a in zip(before, asked, strict=False)]


def hurried(corpus: Corpus) -> list[Conversation]:
    """Every first question in lower case without its closing punctuation."""
    return [exchange(plain(answer.asks[0]), answer.answer) for answer in corpus.answers]


def follow_ups(corpus: Corpus) -> list[Conversation]:
    """Every first question after an unrelated exchange and a system prompt."""
    system = {"role": "system", "content": corpus.system_prompts[0]}
    first = [exchange(answer.asks[0], answer.answer) for answer in corpus.answers]
    before = first[len(first) // 2 :] + first[: len(first) // 2]
    return [Conversation((system, *b.messages, *a.messages)) for b, a in zip(before, first, strict=True)]


def held_out(corpus: Corpus) -> list[Conversation]:
    """Off-topic questions that training never saw."""
    return [exchange(ask, corpus.fallback.answer) for ask in corpus.fallback.held_out]


def _batched(cases: list[Case]) -> Iterator[list[Case]]:
    rest = iter(cases)
    while batch := list(islice(rest, PER_BATCH)):
        yield batch
