"""Models of SentencePiece, and merges without words: pieces of characters with bytes for the others."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.build_scripts.weights.gguf.gguf_checkpoints import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
)
from tests.build_scripts.weights.gguf.mixed_text import mixed_lines
from tests.build_scripts.weights.gguf.tokenizer.values import files, tokenizer, values
from triton_repo.contract.errors import BuildError

PIECES = (
    "▁t",
    "he",
    "▁the",
    "in",
    "er",
    "▁a",
    "on",
    "▁he",
    "the",
    "▁▁",
    "▁▁▁▁",
    "12",
    "ll",
    "▁th",
    "an",
    "▁Paris",
    "Par",
    "is",
)


def sentencepiece_values(**changes: Any) -> dict[str, Any]:
    """Of a small SentencePiece model: letters, what is made of them, and every byte."""
    letters = sorted({letter for line in mixed_lines(300) for letter in line.replace(" ", "▁") if ord(letter) < 0x2600})
    pieces = [*PIECES, *(letter for letter in letters if letter not in PIECES)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, "Par is"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces), USER_DEFINED]
    scores = [0.0, 0.0, 0.0, *[0.0] * 256, *(-float(rank) for rank in range(len(pieces))), -1000.0]
    own = {"model": "llama", "pre": "default", "tokens": tokens, "token_type": kinds, "scores": scores, "merges": None}
    return values(**own, **changes)


def reference(text: str, given: dict[str, Any]) -> list[int]:
    """SentencePiece's own way: of neighbours that make a piece, those of the best score first, then the leftmost."""
    tokens, scores = given["tokenizer.ggml.tokens"], given["tokenizer.ggml.scores"]
    ids = {token: id for id, token in enumerate(tokens) if given["tokenizer.ggml.token_type"][id] == NORMAL}
    symbols: list[str | None] = list(text.replace(" ", "▁"))
    while True:
        at = [place for place, symbol in enumerate(symbols) if symbol is not None]
        pairs = [
            (-scores[ids[whole]], left, right, whole)
            for left, right in itertools.pairwise(at)
            if (whole := f"{symbols[left]}{symbols[right]}") in ids
        ]
        if not pairs:
            break
        _, left, right, whole = min(pairs)
        symbols[left], symbols[right] = whole, None
    found: list[int] = []
    for symbol in symbols:
        if symbol is not None:
            found += [ids[symbol]] if symbol in ids else [3 + byte for byte in symbol.encode()]
    return found


@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_model_gives_the_ids_that_its_scores_say(prefix: bool) -> None:
    given = sentencepiece_values(add_space_prefix=prefix)
    made = tokenizer(given)
    for line in mixed_lines(1000):
        if "<s>" in line:
            continue
        ids = made.encode(line, add_special_tokens=False).ids
        assert ids == reference(f" {line}" if prefix else line, given), repr(line)
        assert made.decode(ids) == line.replace("▁", " ")


def test_a_sentencepiece_model_begins_with_bos_and_finds_special_tokens() -> None:
    given = sentencepiece_values(bos_token_id=1, eos_token_id=2)
    tokens = given["tokenizer.ggml.tokens"]
    assert tokenizer(given).encode("a</s>").ids == [1, tokens.index("▁a"), 2]
    assert tokenizer(given).encode("Par is").ids == [1, tokens.index("Par is")]


def test_scores_that_are_logarithms_make_a_unigram_model() -> None:
    given = sentencepiece_values()
    given["tokenizer.ggml.scores"] = [0.1 * score - 0.5 for score in given["tokenizer.ggml.scores"]]
    assert files(given)["tokenizer.json"]["model"]["type"] == "Unigram"
    assert tokenizer(given).encode("the", add_special_tokens=False).tokens == ["▁the"]


def test_a_piece_longer_than_any_is_rejected() -> None:
    given = sentencepiece_values()
    given["tokenizer.ggml.tokens"][-2] = "x" * 100_000
    with pytest.raises(BuildError, match="has 100000 characters; must be ≤ 1024"):
        files(given)


def unsplit_values() -> dict[str, Any]:
    """Of a model as Gemma 4's: letters, merges of them, and every byte."""
    letters = sorted({letter for line in mixed_lines(300) for letter in line.replace(" ", "▁") if ord(letter) < 0x2600})
    merges = ["t h", "th e", "▁ the", "▁ ▁", "\n \n", "i n", "e r"]
    whole = [token for merge in merges if (token := merge.replace(" ", "")) not in letters]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *whole]
    kinds = [CONTROL, CONTROL, CONTROL, UNKNOWN, *[BYTE] * 256, *[NORMAL] * (len(letters) + len(whole))]
    ids = {"bos_token_id": 2, "eos_token_id": 1, "unknown_token_id": 3}
    return values(model="gemma4", pre=None, tokens=tokens, token_type=kinds, merges=merges, **ids)


def test_merges_apply_to_the_whole_text() -> None:
    made = tokenizer(unsplit_values())
    assert made.encode("the the\n\nin").tokens == ["<bos>", "the", "▁the", "\n\n", "in"]
    for line in mixed_lines(300):
        if "<bos>" not in line:
            assert made.decode(made.encode(line, add_special_tokens=False).ids) == line.replace("▁", " ")
