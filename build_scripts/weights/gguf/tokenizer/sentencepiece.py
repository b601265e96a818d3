"""`tokenizer.ggml.model = llama`: a SentencePiece model, whose scores say which pieces are formed first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from build_scripts.vocabulary.merges import merges_of
from build_scripts.weights.gguf.tokenizer.vocabulary import BYTE, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary

_BLANK: Final = "▁"
BLANKS_TO_TOKENS: Final = {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK}
DECODERS: Final = (
    {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
)


def sentencepiece(vocabulary: Vocabulary) -> dict[str, Any]:
    """normalizer, pre_tokenizer, decoder and model of tokenizer.json: BPE, or Unigram where the scores are of that.

    Raises:
        BuildError: there are no scores, or a piece is longer than any SentencePiece model's.
    """
    prefix = vocabulary.flag("add_space_prefix", default=True)
    before = [{"type": "Prepend", "prepend": _BLANK}] if prefix else []
    after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, BLANKS_TO_TOKENS]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [*DECODERS, *after]},
        "model": _unigram(vocabulary) if _is_unigram(vocabulary) else _bpe(vocabulary),
    }


def _scores(vocabulary: Vocabulary) -> list[float]:
    if vocabulary.scores is None:
        raise vocabulary.meta.error("tokenizer.ggml.scores", "must be an array of numbers, one for each token")
    return list(vocabulary.scores)


def _is_unigram(vocabulary: Vocabulary) -> bool:
    """BPE's scores are ranks, whole numbers; Unigram's are logarithms."""
    scores = _scores(vocabulary)
    return any(scores[id] % 1 for id, _ in vocabulary.of_kind(NORMAL))


def _unknown(vocabulary: Vocabulary) -> int | None:
    return next((id for id, _ in vocabulary.of_kind(UNKNOWN)), vocabulary.id("unknown_token_id"))


def _unigram(vocabulary: Vocabulary) -> dict[str, Any]:
    pieces = list(zip(vocabulary.tokens, _scores(vocabulary), strict=True))
    has_bytes = any(True for _ in vocabulary.of_kind(BYTE))
    return {"type": "Unigram", "unk_id": _unknown(vocabulary), "vocab": pieces, "byte_fallback": has_bytes}


def _bpe(vocabulary: Vocabulary) -> dict[str, Any]:
    unknown = _unknown(vocabulary)
    return bpe(vocabulary, None if unknown is None else vocabulary.tokens[unknown], _merges(vocabulary))


def bpe(vocabulary: Vocabulary, unknown: str | None, merges: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The model of tokenizer.json: BPE of characters, and of bytes where there are tokens of such."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": any(True for _ in vocabulary.of_kind(BYTE)),
        "ignore_merges": False,
        "vocab": {token: id for id, token in enumerate(vocabulary.tokens)},
        "merges": merges,
    }


def _merges(vocabulary: Vocabulary) -> Sequence[tuple[str, str]]:
    """Of two pieces those that make a third, the highest score first."""
    scores = _scores(vocabulary)
    ids = {token: id for id, token in vocabulary.of_kind(NORMAL, USER_DEFINED)}
    where = f"{vocabulary.meta.where}: tokenizer.ggml.tokens"
    return merges_of({token: -scores[id] for token, id in ids.items()}, ids, where)
