"""`tokenizer.ggml.model = gemma4`: merges as byte-level BPE has, of characters, and of the whole text."""

from __future__ import annotations

from typing import Any

from build_scripts.weights.gguf.tokenizer.byte_level import merges
from build_scripts.weights.gguf.tokenizer.sentencepiece import BLANKS_TO_TOKENS, DECODERS, bpe
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary


def unsplit(vocabulary: Vocabulary) -> dict[str, Any]:
    """normalizer, pre_tokenizer, decoder and model of tokenizer.json.

    Raises:
        BuildError: there are no merges, or one of them gives no token.
    """
    return {
        "normalizer": BLANKS_TO_TOKENS,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\n+"}, "behavior": "Isolated", "invert": False},
        "decoder": {"type": "Sequence", "decoders": [*DECODERS]},
        "model": bpe(vocabulary, vocabulary.token("unknown_token_id"), merges(vocabulary)),
    }
