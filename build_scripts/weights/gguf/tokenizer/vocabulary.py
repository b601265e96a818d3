"""`tokenizer.ggml.*`: the tokens with their kinds and scores, the ids of special ones, the chat templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.weights.gguf.metadata import Metadata
from triton_repo.contract.errors import BuildError

_PREFIX: Final = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# Tokens that end a turn, and by which llama.cpp finds the end where a file names another one or none.
_TURN_ENDS: Final = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", "<end_of_utterance>", "<EOT>", "_<EOT>",
    "[EOT]", "<turn|>", "[e~[", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>",
)  # fmt: skip
# Where a call has an end of its own, this one ends a part of an answer: reasoning, for one.
_PART_END: Final = "<|end|>"
_CALL_ENDS: Final = ("<|call|>", "<|calls|>")
_ENDS: Final = ("eos_token_id", "eot_token_id", "eom_token_id")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens by id. A token without text is called [EMPTY_id], as in llama.cpp."""

    meta: Metadata
    tokens: Sequence[str]
    kinds: Sequence[int]
    scores: Sequence[float] | None

    @classmethod
    def read(cls, meta: Metadata, model_size: int) -> Vocabulary:
        """Raises: BuildError: there are no tokens, more than the model has, or two alike."""
        texts = meta.texts(f"{_PREFIX}tokens")
        if not texts:
            raise meta.error(f"{_PREFIX}tokens", "must be an array of texts")
        if len(texts) > model_size:
            raise BuildError(f"{meta.where}: {len(texts)} tokens; the embedding has {model_size} rows")
        tokens = [text or f"[EMPTY_{id}]" for id, text in enumerate(texts)]
        ids = {token: id for id, token in enumerate(tokens)}
        if len(ids) < len(tokens):
            id, token = next((id, token) for id, token in enumerate(tokens) if ids[token] != id)
            raise BuildError(f"{meta.where}: {_PREFIX}tokens: {token!r:.80} is the token of {id} and of {ids[token]}")
        kinds = [int(kind) for kind in meta.numbers(f"{_PREFIX}token_type", len(tokens)) or [NORMAL] * len(tokens)]
        for name in _ENDS:  # some converters call them words, or the user's
            end = meta.token_id(_PREFIX + name, len(tokens))
            if end is not None and kinds[end] in {NORMAL, USER_DEFINED}:
                kinds[end] = CONTROL
        return cls(meta, tokens, kinds, meta.numbers(f"{_PREFIX}scores", len(tokens)))

    @property
    def model(self) -> str:
        return self.meta.required_text(f"{_PREFIX}model")

    @property
    def pre(self) -> str | None:
        return self.meta.text(f"{_PREFIX}pre")

    @property
    def merges(self) -> list[str] | None:
        return self.meta.texts(f"{_PREFIX}merges")

    def flag(self, name: str, default: bool) -> bool:
        return self.meta.flag(_PREFIX + name, default)

    def id(self, name: str) -> int | None:
        """Of the token that `tokenizer.ggml.{name}` names: `bos_token_id`."""
        return self.meta.token_id(_PREFIX + name, len(self.tokens))

    def token(self, name: str) -> str | None:
        id = self.id(name)
        return None if id is None else self.tokens[id]

    def ends(self) -> list[int]:
        """The ids that end an answer: EOS, EOT and EOM, the end of a turn where none of them is one, that of a call."""
        found = [id for name in _ENDS if (id := self.id(name)) is not None]
        calls = [id for id, token in self.of_kind(CONTROL) if token in _CALL_ENDS]
        if not any(self.tokens[id] in _TURN_ENDS for id in found):
            found += [id for id, token in self.of_kind(CONTROL) if token in _TURN_ENDS]
        found += calls
        return [id for id in dict.fromkeys(found) if not calls or self.tokens[id] != _PART_END]

    def of_kind(self, *kinds: int) -> Iterator[tuple[int, str]]:
        """The ids and tokens of these kinds."""
        return ((id, token) for id, token in enumerate(self.tokens) if self.kinds[id] in kinds)

    def added_tokens(self) -> list[dict[str, Any]]:
        """The tokens that are found in a text before it is split, as tokenizer.json lists them."""
        return [
            {
                "id": id,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": self.kinds[id] != USER_DEFINED,
            }
            for id, token in self.of_kind(CONTROL, UNKNOWN, USER_DEFINED)
        ]
