"""The values of `tokenizer.ggml.*` of small tokenizers, and what is made of them."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.tokenizer.files import tokenizer_files
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from tests.build_scripts.weights.gguf.gguf_checkpoints import (
    CONTROL,
    MERGES,
    NORMAL,
    SPECIAL,
    TEMPLATE,
    byte_level_tokens,
)


def values(**changes: Any) -> dict[str, Any]:
    """The values of a byte-level tokenizer; `changes` are of `tokenizer.ggml`, None removes one."""
    tokens = byte_level_tokens()
    own: dict[str, Any] = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": [CONTROL if token in SPECIAL else NORMAL for token in tokens],
        "merges": list(MERGES),
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }
    found: dict[str, Any] = {f"tokenizer.ggml.{key}": value for key, value in own.items() if value is not None}
    return {"general.architecture": "llama", "tokenizer.chat_template": TEMPLATE, **found}


def files(given: dict[str, Any]) -> dict[str, Any]:
    """File name -> JSON value, or text."""
    meta = Metadata("x.gguf", given)
    found = tokenizer_files(Vocabulary.read(meta, 1 << 20))
    return {name: json.loads(text) if name.endswith(".json") else text.decode() for name, text in found.items()}


def tokenizer(given: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(files(given)["tokenizer.json"]))
