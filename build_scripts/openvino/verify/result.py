"""What transformers expects, what the engine answers, and how far they are apart. Needs no torch and no OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one prompt.

    Attributes:
        prompt: token ids [positions].
        given: the logprob of each of its tokens but the first, after those before it [positions - 1].
        steps: logprobs of the whole vocabulary after the prompt, and after each of the greedy tokens that follow
            [new tokens, vocabulary].
    """

    prompt: NDArray[np.int64]
    given: Floats
    steps: Floats

    @staticmethod
    def save(file: Path, prompts: Sequence[Expected]) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        for number, each in enumerate(prompts):
            arrays |= {f"prompt{number}": each.prompt, f"given{number}": each.given, f"steps{number}": each.steps}
        with file.open("wb") as out:
            np.savez(out, **arrays)

    @staticmethod
    def load(file: Path) -> list[Expected]:
        with np.load(file, allow_pickle=False) as arrays:
            count = len(arrays.files) // 3
            return [Expected(*(arrays[f"{part}{n}"] for part in ("prompt", "given", "steps"))) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the engine to one prompt: `ids` are the prompt and what follows; `logprobs` are theirs, but for the first."""

    ids: NDArray[np.int64]
    logprobs: Floats


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one prompt: the largest one of a logprob, where it is, and how many tokens were compared."""

    largest: float
    position: int
    tokens: int
    prompt_tokens: int

    def within(self, tolerance: float) -> bool:
        """Never where a logprob is not a number."""
        return self.largest <= tolerance


def compare(expected: Expected, answer: Answer) -> Difference:
    """Greedy tokens are compared up to the first that differs: what follows another token has other logprobs.

    A token that differs counts by how much less likely it is than the likeliest.
    """
    length = len(expected.prompt)
    differences = list(np.abs(answer.logprobs[: length - 1] - expected.given))
    for row, token, logprob in zip(expected.steps, answer.ids[length:], answer.logprobs[length - 1 :], strict=True):
        likeliest = row.argmax()
        differences.append(max(abs(logprob - row[token]), row[likeliest] - row[token]))
        if token != likeliest:
            break
    worst = int(np.argmax(differences))  # numpy takes a NaN for the largest
    return Difference(float(differences[worst]), worst + 1, len(differences), length)
