"""Vocabularies of ranked byte strings encode as tiktoken encodes, which merges the lowest rank first."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_scripts.vocabulary.byte_level import ByteVocabulary, convert_byte_level, read_tekken, read_tiktoken
from triton_repo.contract.errors import BuildError

_PARTS = ["he", "ll", "llo", "hello", " w", "or", " wor", "ld", " world", "你", "你好", "\n\n", "  ", "ab", "abc", "bc"]
RANKS = {bytes([byte]): byte for byte in range(256)}
for part in _PARTS:
    RANKS.setdefault(part.encode(), len(RANKS))
SPECIAL = {"<s>": 0, "[INST]": 1}
WORDS = r" ?\p{L}+|\s+|[^\s\p{L}]+"


def merged(text: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """tiktoken's way with one word."""
    if text in ranks:
        return [ranks[text]]
    parts = [bytes([byte]) for byte in text]
    while True:
        pairs = [(ranks[a + b], at) for at, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not pairs:
            return [ranks[part] for part in parts]
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


OURS = convert_byte_level(ByteVocabulary("tokenizer.model", RANKS, r"[\s\S]+", SPECIAL, first_id=2))


@given(text=st.text(alphabet=[*"helo wrdabc", "\n", "你", "好", "é"], min_size=1, max_size=24))
@settings(max_examples=2000, deadline=None)
def test_words_are_merged_as_tiktoken_merges_them(text: str) -> None:
    assert OURS.encode(text).ids == [2 + rank for rank in merged(text.encode(), RANKS)]
    assert OURS.decode(OURS.encode(text).ids) == text


def many_ranks(count: int) -> dict[bytes, int]:
    """As many tokens as a family has: every byte, then pairs and triples of them."""
    tokens = itertools.chain.from_iterable(itertools.product(range(256), repeat=length) for length in (1, 2, 3))
    return {bytes(token): rank for rank, token in enumerate(itertools.islice(tokens, count))}


def tiktoken_file(ranks: Mapping[bytes, int]) -> bytes:
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())


@pytest.mark.parametrize(
    ("count", "tokens"),
    [
        (128_000, {"<|begin_of_text|>": 128_000, "<|end_of_text|>": 128_001, "<|eom_id|>": 128_008,
                   "<|eot_id|>": 128_009, "<|reserved_special_token_2|>": 128_012,
                   "<|reserved_special_token_245|>": 128_255}),
        (151_643, {"<|endoftext|>": 151_643, "<|im_start|>": 151_644, "<|im_end|>": 151_645, "<|extra_204|>": 151_850}),
        (200_000, {"<|eot|>": 200_008, "<|finetune_right_pad|>": 200_018, "<|image_start|>": 200_080,
                   "<|patch|>": 200_092, "<|reasoning_thinking_end|>": 201_143}),
    ],
)  # fmt: skip
def test_the_special_tokens_of_a_tiktoken_file_follow_from_its_family(count: int, tokens: dict[str, int]) -> None:
    vocabulary, _ = read_tiktoken(tiktoken_file(many_ranks(count)), "tokenizer.model")
    assert {text: vocabulary.special[text] for text in tokens} == tokens
    assert sorted(vocabulary.special.values()) == [*range(count, count + len(vocabulary.special))]


def test_a_tiktoken_file_of_an_unknown_family_is_rejected_by_name() -> None:
    with pytest.raises(BuildError, match=r"qwen\.tiktoken: 300 tokens in tiktoken's format.*Llama 3 \(128000\)"):
        read_tiktoken(tiktoken_file(many_ranks(300)), "qwen.tiktoken")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"IQ== 0\nIg== x\n", "line 2: must be a token in base64 and its rank"),
        (b"IQ== 0\nIg== 7\n", "the ranks must be 0 … 1, each once"),
        (b"I 0\n", "is not base64"),
    ],
)
def test_a_broken_tiktoken_file_is_rejected(data: bytes, complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        read_tiktoken(data, "tokenizer.model")


def tekken(**config: object) -> dict[str, object]:
    tokens = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for token, rank in RANKS.items()]
    sizes = {"pattern": WORDS, "default_vocab_size": 30 + len(RANKS) - 2, "default_num_special_tokens": 30}
    return {"config": {**sizes, **config}, "vocab": tokens}


def test_a_tekken_file_has_its_special_tokens_first_and_leaves_out_what_is_beyond_its_size() -> None:
    vocabulary, ends = read_tekken(tekken(), "tekken.json")
    tokenizer = convert_byte_level(vocabulary)
    assert (tokenizer.token_to_id("</s>"), tokenizer.token_to_id("[/INST]"), tokenizer.token_to_id("<SPECIAL_29>")) == (
        2,
        4,
        29,
    )
    assert tokenizer.get_vocab_size() == 30 + len(RANKS) - 2
    assert tokenizer.encode("[INST]hello world").ids == [3, 30 + RANKS[b"hello"], 30 + RANKS[b" world"]]
    assert ends["eos_token"] == "</s>"


@pytest.mark.parametrize(
    "config",
    [
        {"pattern": None, "default_vocab_size": "x"},
        {"default_num_special_tokens": 5},
        {"default_num_special_tokens": 10**12, "default_vocab_size": 10**13},
    ],
)
def test_a_broken_tekken_file_is_rejected(config: dict[str, object]) -> None:
    with pytest.raises(BuildError, match=r"tekken\.json: "):
        read_tekken(tekken(**config), "tekken.json")


def test_a_token_longer_than_any_is_rejected() -> None:
    ranks = {**RANKS, b"x" * 100_000: len(RANKS)}
    with pytest.raises(BuildError, match=r"tokenizer\.model: 'xx.* has 100000 characters; must be ≤ 1024"):
        convert_byte_level(ByteVocabulary("tokenizer.model", ranks, r"[\s\S]+", SPECIAL, first_id=2))
