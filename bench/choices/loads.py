"""What the choices are tried on. Every wave has prompts of its own, the same for both sides of a choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from bench.bars.checkpoint import SHAPE
from bench.choices.wave import Ask, Ids, Work
from bench.load.workload import random_ids
from triton_repo.contract.sampling import Sampling

# Greedy answers to prompts: of the side of a choice that stands for the default.
Answers = Callable[[Sequence[Ids], int], Sequence[Ids]]
Load = Callable[[Random, Answers], Work]

PROMPT_TOKENS: Final = 128
NEW_TOKENS: Final = 64
FEW_TOKENS: Final = 48  # four streams of them still have more than a hundred gaps
SYSTEM_TOKENS: Final = 512
LONG_TOKENS: Final = 1024
FREE: Final = Sampling(temperature=1.0, seed=1)  # a random model says any token after any other, as likely


def _prompt(random: Random, tokens: int) -> list[int]:
    return random_ids(random, tokens, SHAPE["vocab_size"])


def decode(streams: int) -> Load:
    """Short prompts, longer answers."""

    def load(random: Random, _: Answers) -> Work:
        return Work([Ask(_prompt(random, PROMPT_TOKENS), NEW_TOKENS) for _ in range(streams)])

    return load


def long_context(streams: int) -> Load:
    """Answers to long prompts: much cache is read for each token."""

    def load(random: Random, _: Answers) -> Work:
        return Work([Ask(_prompt(random, LONG_TOKENS), NEW_TOKENS) for _ in range(streams)])

    return load


def same_system_prompt(chats: int) -> Load:
    """Chats with one system prompt, which does not change from wave to wave."""

    def load(random: Random, _: Answers) -> Work:
        system = _prompt(Random(0), SYSTEM_TOKENS)  # noqa: S311
        return Work([Ask(system + _prompt(random, 32), 16) for _ in range(chats)])

    return load


def other_system_prompts(chats: int) -> Load:
    """Chats of the same lengths that have nothing in common."""

    def load(random: Random, _: Answers) -> Work:
        return Work([Ask(_prompt(random, SYSTEM_TOKENS + 32), 16) for _ in range(chats)])

    return load


def long_prompts_arrive(streams: int) -> Load:
    """Answers are under way while long prompts come, one after the other."""

    def load(random: Random, _: Answers) -> Work:
        short = [Ask(_prompt(random, PROMPT_TOKENS), FEW_TOKENS) for _ in range(streams)]
        return Work(short, [Ask(_prompt(random, LONG_TOKENS), 4) for _ in range(64)])

    return load


def copying(streams: int) -> Load:
    """Answers that go on as the prompt does: a random model, left to itself, soon goes round in a loop."""

    def load(random: Random, answers: Answers) -> Work:
        prompts = [_prompt(random, PROMPT_TOKENS // 4) for _ in range(streams)]
        seen = [[*prompt, *answer] for prompt, answer in zip(prompts, answers(prompts, 2 * NEW_TOKENS), strict=True)]
        return Work([Ask(prompt, NEW_TOKENS) for prompt in seen])

    return load


def free_text(streams: int) -> Load:
    """Answers in which nothing comes again."""

    def load(random: Random, _: Answers) -> Work:
        return Work([Ask(_prompt(random, PROMPT_TOKENS), NEW_TOKENS, FREE) for _ in range(streams)])

    return load
