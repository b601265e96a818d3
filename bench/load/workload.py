"""What is asked: prompts and answer lengths, the same for the same seed, as bodies of OpenAI requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson

from bench.load.distribution import Lengths
from bench.options import Api

# Common short words: about one token each in most vocabularies. The server's own count is what is reported.
_WORDS: Final = (
    "the", "of", "and", "to", "in", "that", "was", "he", "it", "his", "as", "on", "with", "had", "for", "at", "but",
    "not", "be", "they", "you", "from", "she", "which", "all", "have", "one", "this", "there", "so", "were", "when",
    "out", "up", "who", "said", "them", "an", "into", "time", "could", "now", "little", "then", "more", "old", "day",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workload:
    """A law of requests.

    Attributes:
        vocab_size: None makes prompts of words, about `prompt_tokens` of them; a number makes prompts of exactly
            `prompt_tokens` random token ids below it, which only the `completions` API takes.
        ignore_eos: ask for exactly `output_tokens`; an extension of OpenAI's API that most LLM servers know.
        temperature: None leaves it to the server.
    """

    model: str
    prompt_tokens: Lengths
    output_tokens: Lengths
    api: Api = "chat"
    vocab_size: int | None = None
    ignore_eos: bool = False
    temperature: float | None = None
    seed: int = 0

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.api == "chat" else "/v1/completions"

    def bodies(self, salt: str = "") -> Iterator[bytes]:
        """Request bodies without end; another `salt` gives other prompts, which no cache has seen."""
        random = Random(f"{self.seed}/{salt}")  # noqa: S311 - repeatable is what it must be
        while True:
            yield orjson.dumps(self._body(random))

    def _body(self, random: Random) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            **self._prompt(random),
            "max_tokens": self.output_tokens.draw(random),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        if self.temperature is not None:
            body["temperature"] = self.temperature
        return body

    def _prompt(self, random: Random) -> dict[str, Any]:
        length = self.prompt_tokens.draw(random)
        if self.vocab_size is not None:
            return {"prompt": random_ids(random, length, self.vocab_size)}
        text = " ".join(random.choices(_WORDS, k=length))
        return {"messages": [{"role": "user", "content": text}]} if self.api == "chat" else {"prompt": text}


def random_ids(random: Random, length: int, vocab_size: int) -> list[int]:
    """Ids from the upper half of the vocabulary: the special tokens of most tokenizers are among the first."""
    return random.choices(range(vocab_size // 2, vocab_size), k=length)
