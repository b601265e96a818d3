"""Logprobs of tokens: what a runtime reports, and its form between the engine and the detokenizer.

A logprob is the natural logarithm of the probability that the model gave to a token. A request with `logprobs` = n gets
it for every token of the answer, and for the n most likely tokens at each position (the token may be one of them).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from triton_repo.contract.errors import UnsupportedParameter
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import LOGPROBS_FIELD, PROMPT_LOGPROBS_FIELD, Sampling
from triton_repo.contract.tensors import ECHO

LENGTHS_ONLY: Final = b"lengths"  # in the LOGPROBS tensor: this delta's tokens are listed with their lengths alone
NO_PROMPT_LOGPROBS: Final = (
    "has no logprobs of prompts: an openvino engine has them if its spec says serve.prompt_logprobs = true"
)
LOWEST: Final = -9999.0  # for the logarithm of 0, which JSON cannot express


class TokenLogprob(NamedTuple):
    """The logprob of one token, and ids and logprobs of the most likely tokens at its position, most likely first.

    The first token of a prompt has no logprob, and no others at its position. `rank` is how likely the token is among
    all: 1 is the likeliest; 0 where the runtime does not tell.
    """

    logprob: float | None
    top: Sequence[tuple[int, float]] = ()
    rank: int = 0


def check_logprobs(sampling: Sampling, card: ModelCard, *, of_prompt: bool = False) -> None:
    """
    Args:
        of_prompt: those of `logprobs` are asked for of the prompt too.

    Raises:
        UnsupportedParameter: the engine cannot report that many alternatives.
    """
    if sampling.prompt_logprobs is not None:
        _check_of_prompt(sampling.prompt_logprobs, card, PROMPT_LOGPROBS_FIELD, PROMPT_LOGPROBS_FIELD)
    if of_prompt and sampling.logprobs is not None:
        _check_of_prompt(sampling.logprobs, card, ECHO, f"{ECHO} with {LOGPROBS_FIELD}")
        if sampling.max_tokens == 1:  # what may follow the prompt is known with its own tokens
            return
    if sampling.logprobs is not None and sampling.logprobs > card.max_logprobs:
        raise UnsupportedParameter(
            f"{LOGPROBS_FIELD}: {sampling.logprobs} alternatives to each token; the {card.runtime} runtime reports the "
            f"logprob of the token itself and those of at most {card.max_logprobs} alternatives",
            LOGPROBS_FIELD,
        )


def _check_of_prompt(num: int, card: ModelCard, param: str, asked: str) -> None:
    most = card.max_prompt_logprobs
    if most is None or num > most:
        rule = NO_PROMPT_LOGPROBS if most is None else f"has at most {most} alternatives"
        raise UnsupportedParameter(f"{asked}: this engine {rule}", param)


def to_json(logprobs: Sequence[TokenLogprob]) -> bytes:
    """The logprobs of one delta; b"" for a delta without."""
    if not logprobs:
        return b""
    return json.dumps(
        [(_bounded(of.logprob), [(id, _bounded(other)) for id, other in of.top]) for of in logprobs]
    ).encode()


def prompt_to_json(ids: Sequence[int], logprobs: Sequence[TokenLogprob]) -> bytes:
    """What is told of a prompt: its ids, and their logprobs if there are any."""
    of_each = [(_bounded(of.logprob), [(id, _bounded(other)) for id, other in of.top], of.rank) for of in logprobs]
    return json.dumps([list(ids), of_each], separators=(",", ":")).encode()


def prompt_from_json(text: bytes) -> tuple[list[int], list[TokenLogprob]]:
    ids, logprobs = json.loads(text)
    return ids, [TokenLogprob(*each) for each in logprobs]


def from_json(text: bytes) -> list[TokenLogprob]:
    return [TokenLogprob(logprob, top) for logprob, top in json.loads(text or "[]")]


def _bounded(logprob: float | None) -> float | None:
    """A logprob that JSON can express and that is not positive: rounding may make the probabilities add up to more."""
    return None if logprob is None else min(0.0, max(LOWEST, logprob))
