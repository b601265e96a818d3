"""`tokenizer.ggml.model = gemma4`: merges as byte-level BPE has, of characters, and of the whole text."""

from __future__ import annotations

from typing import Any, Final

from build_scripts.weights.gguf.tokenizer.byte_level import merges
from build_scripts.weights.gguf.tokenizer.vocabulary import BYTE, Vocabulary

_BLANK: Final = "▁"


def unsplit(vocabulary: Vocabulary) -> dict[str, Any]:
    """normalizer, pre_tokenizer, decoder and model of tokenizer.json.

    Raises:
        BuildError: there are no merges, or one of them gives no token.
    """
    return {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\n+"}, "behavior": "Isolated", "invert": False},
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": vocabulary.token("unknown_token_id"),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(True for _ in vocabulary.of_kind(BYTE)),
            "ignore_merges": False,
            "vocab": {token: id for id, token in enumerate(vocabulary.tokens)},
            "merges": merges(vocabulary),
        },
    }
