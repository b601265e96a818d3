"""`best_of`: of several answers to one prompt, the likeliest.

As OpenAI ranks them: by the logprob per token, so that a short answer is not better for being short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from gateway.answers.events import WholeChoice


@dataclass(frozen=True, slots=True)
class Ranking:
    """`num_choices` answers to each prompt, of which `num_kept` are kept."""

    num_choices: int
    num_kept: int

    def best(self, choices: Sequence[WholeChoice]) -> list[WholeChoice]:
        """The likeliest choices of each prompt, those of one prompt side by side; each has its logprobs."""
        kept: list[WholeChoice] = []
        for start in range(0, len(choices), self.num_choices):
            of_prompt = choices[start : start + self.num_choices]
            kept += sorted(of_prompt, key=_logprob_per_token, reverse=True)[: self.num_kept]
        return kept


def _logprob_per_token(choice: WholeChoice) -> float:
    logprobs = [float(orjson.loads(token.entry)["logprob"]) for token in choice.tokens or ()]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")
