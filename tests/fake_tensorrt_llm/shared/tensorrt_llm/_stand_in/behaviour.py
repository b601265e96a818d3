"""In what the executors of the versions and flows differ."""

from __future__ import annotations

from dataclasses import dataclass

FAILS_ON = 318  # a prompt that holds this token id fails once its first token has come
DIES_ON = 319  # … this one takes a worker process with it
LOOP_DIES_ON = 317  # … and this one the event loop of the executor


class RequestError(RuntimeError):
    """The error raised when the request is failed."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """
    Attributes:
        hands_over_end_id: the end id is among the token ids.
        names_alternatives: logprobs are those of the likeliest tokens, else of the sampled one alone.
        sampled_comes_first: … and of those the sampled one comes first, whatever its rank.
        zero_is_the_sampled: `logprobs` = 0 is the sampled token alone, else none at all.
        has_logprobs: without an error there are none otherwise.
        tells_of_dead_worker: all that wait get an error at once, else at the next request.
        by_priority: requests that wait are started by it.
        scores_prompts: `prompt_logprobs` are told, of what was not in the cache.
        tokens_per_step: candidates that an iteration verifies, and one more.
    """

    hands_over_end_id: bool
    names_alternatives: bool
    sampled_comes_first: bool = False
    zero_is_the_sampled: bool = False
    has_logprobs: bool = True
    tells_of_dead_worker: bool = False
    by_priority: bool = False
    scores_prompts: bool = False
    tokens_per_step: int = 1
