"""Tokenizers rebuilt from `tokenizer.ggml.*`: words, ids, special tokens and templates."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import Tokenizer

from build_scripts.source.checkpoint import Checkpoint
from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.tokenizer.files import tokenizer_files
from build_scripts.weights.gguf.tokenizer.splits import SPLITTINGS
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from tests.build_scripts.weights.gguf.gguf_checkpoints import (
    BYTE,
    CONTROL,
    MERGES,
    NORMAL,
    SPECIAL,
    TEMPLATE,
    UNKNOWN,
    USER_DEFINED,
    add_byte_level,
    byte_level_tokens,
)
from tests.build_scripts.weights.gguf.mixed_text import mixed_lines
from tests.build_scripts.weights.gguf.vocabularies import compared
from triton_repo.contract.errors import BuildError

TEXT = "I'm HTTPServer 12345  x!=y\n\n  你好, 3½ WE'LL\t."
# What TEXT is split into, as llama.cpp does it too; in each row the words at which the rows differ from GPT-2's.
WORDS = {
    "gpt-2": "I|'m| HTTPServer| 12345| | x|!=|y|\n\n | 你好|,| 3½| WE|'|LL|\t|.",
    "smollm": "I|'m| HTTPServer| |1|2|3|4|5| | x|!=|y|\n\n | 你好|,| |3|½| WE|'|LL|\t|.",
    "default": "I|'|m| HTTPServer| |123|45| | x|!=|y|\n\n | 你好|,| |3½| WE|'|LL|\t|.",
    "llama-bpe": "I|'m| HTTPServer| |123|45| | x|!=|y|\n\n| | 你好|,| |3½| WE|'LL|\t|.",
    "qwen2": "I|'m| HTTPServer| |1|2|3|4|5| | x|!=|y|\n\n| | 你好|,| |3|½| WE|'LL|\t|.",
    "tekken": "I|'m| HTTPServer| |1|2|3|4|5| | x|!=|y|\n\n| | 你好|,| |3|½| WE|'LL|\t|.",
    "gpt-4o": "I'm| HTTPServer| |123|45| | x|!=|y|\n\n| | 你好|,| |3½| WE'LL|\t|.",
    "deepseek-v3": "I|'m| HTTPServer| |123|45| | x|!=|y|\n\n|  |你好|,| |3½| WE|'LL|\t|.",
    "deepseek-llm": "I|'|m| HTTPServer| |1|2|3|4|5| | x|!=|y|\n|\n|  |你好|,| |3|½| WE|'|LL|\t.",
    "deepseek-coder": "I|'|m| HTTPServer| |1|2|3|4|5| | x|!|=|y|\n|\n| | |你好|,| |3|½| WE|'|LL|\t.",
    "bloom": "I'm| HTTPServer| 12345| | x|!|=y|\n\n | 你好|,| 3½| WE'LL|\t.",
    "viking": "I'm| HTTPServer| |1|2|3|4|5| | x|!|=y|\n\n | 你好|,| |3|½| WE'LL|\t.",
    "tiny_aya": "I'm| HTTPServer| |12|345| | x|!=|y|\n\n| | 你好|,| |3½| WE'LL|\t|.",
}
ALIKE = {
    "command-r": "smollm",
    "starcoder": "smollm",
    "exaone": "smollm",
    "mpt": "gpt-2",
    "glm4": "llama-bpe",
    "dbrx": "llama-bpe",
    "stablelm2": "qwen2",
    "qwen35": "qwen2",
    "seed-coder": "qwen2",
    "llama4": "gpt-4o",
}


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


def words(pre: str) -> str:
    made = tokenizer(values(pre=pre))
    return "|".join(made.decoder.decode([word]) for word, _ in made.pre_tokenizer.pre_tokenize_str(TEXT))


@pytest.mark.parametrize("pre", [*WORDS, *ALIKE])
def test_text_is_split_as_the_model_was_trained(pre: str) -> None:
    assert words(pre) == WORDS[ALIKE.get(pre, pre)]


@pytest.mark.parametrize("pre", sorted(SPLITTINGS))
def test_every_kind_of_splitting_gives_back_any_text(pre: str) -> None:
    made = tokenizer(values(pre=pre))
    for line in mixed_lines(200):
        expected = made.normalizer.normalize_str(line) if made.normalizer else line
        assert made.decode(made.encode(line, add_special_tokens=False).ids, skip_special_tokens=False) == expected


def test_an_unknown_splitting_is_rejected_with_those_that_are_known() -> None:
    with pytest.raises(BuildError, match=r"tokenizer\.ggml\.pre = 'klingon'; known: .*llama-bpe.*smollm"):
        files(values(pre="klingon"))


def test_a_file_older_than_the_key_is_split_as_its_architecture_always_was() -> None:
    given = {**values(pre=None), "general.architecture": "qwen2"}
    assert (
        files(given)["tokenizer.json"]["pre_tokenizer"] == files(values(pre="qwen2"))["tokenizer.json"]["pre_tokenizer"]
    )


def test_special_tokens_are_found_in_a_text_and_leave_none() -> None:
    kinds = values()["tokenizer.ggml.token_type"]
    tokens = values()["tokenizer.ggml.tokens"]
    kinds[tokens.index("Ġthe")] = USER_DEFINED
    made = tokenizer(values(token_type=kinds))
    ids = made.encode("<|im_start|>aĠthe<|im_end|>").ids
    assert ids == [1, tokens.index("a"), tokens.index("Ġthe"), 2]
    assert made.decode(ids) == "a the"


@pytest.mark.parametrize("kind", [NORMAL, USER_DEFINED])
def test_what_ends_an_answer_is_special_whatever_its_kind(kind: int) -> None:
    kinds = values()["tokenizer.ggml.token_type"]
    kinds[2] = kind
    made = tokenizer(values(token_type=kinds))
    assert made.encode("a<|im_end|>").ids[-1] == 2
    assert made.decode(made.encode("a<|im_end|>").ids) == "a"


@pytest.mark.parametrize(
    ("pre", "changes", "expected"),
    [
        ("smollm", {}, ""),
        ("llama-bpe", {}, "<|im_start|>"),
        ("llama-bpe", {"add_bos_token": False}, ""),
        ("smollm", {"add_bos_token": True}, "<|im_start|>"),
        ("smollm", {"add_bos_token": True, "add_eos_token": True}, "<|im_start|> <|im_end|>"),
        ("smollm", {"add_bos_token": True, "bos_token_id": None}, ""),
    ],
)
def test_a_text_begins_and_ends_as_the_file_says(pre: str, changes: dict[str, Any], expected: str) -> None:
    tokens = tokenizer(values(pre=pre, **changes)).encode("a").tokens
    assert " ".join(token for token in tokens if token != "a") == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2),
        ({"eos_token_id": 0}, [0, 2]),  # <|im_end|> ends a turn, and the file does not say so
        ({"eos_token_id": 0, "eot_token_id": 2}, [0, 2]),
        ({"eos_token_id": 2, "eot_token_id": 2, "eom_token_id": 1}, [2, 1]),
        ({"eos_token_id": 0xFFFFFFFF}, 2),
    ],
)
def test_an_answer_ends_with_every_token_that_ends_one(changes: dict[str, Any], expected: Any) -> None:
    assert files(values(**changes))["generation_config.json"]["eos_token_id"] == expected


def test_sampling_is_what_the_file_recommends() -> None:
    given = {**values(), "general.sampling.temp": 0.5, "general.sampling.top_k": 20}
    expected = {"bos_token_id": 1, "eos_token_id": 2, "do_sample": True, "temperature": 0.5, "top_k": 20}
    assert files(given)["generation_config.json"] == expected


def test_templates_keep_their_names() -> None:
    given = {**values(), "tokenizer.chat_templates": ["tool_use"], "tokenizer.chat_template.tool_use": "tools"}
    made = files(given)
    assert made["chat_template.jinja"] == TEMPLATE
    named = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "tools"}]
    assert made["tokenizer_config.json"]["chat_template"] == named


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": "klingon"}, "tokenizer.ggml.model = 'klingon'; known: gpt2, llama"),
        ({"model": None}, "tokenizer.ggml.model = missing"),
        ({"tokens": None}, "tokenizer.ggml.tokens = missing"),
        ({"tokens": [1, 2]}, "tokenizer.ggml.tokens = [1, 2]; must be an array of texts"),
        ({"tokens": ["a", "b", "a"]}, "'a' is the token of 0 and of 2"),
        ({"token_type": [1]}, "tokenizer.ggml.token_type = [1]; must be an array of"),
        ({"merges": None}, "tokenizer.ggml.merges = missing"),
        ({"merges": ["ab"]}, "the merge 0, 'ab', must be two tokens that make one"),
        ({"merges": ["Ġ t", "x y"]}, "the merge 1, 'x y', must be"),
        ({"add_bos_token": 1}, "tokenizer.ggml.add_bos_token = 1; must be true or false"),
        ({"model": "llama", "scores": None}, "tokenizer.ggml.scores = missing"),
    ],
)
def test_a_broken_tokenizer_is_rejected_by_its_key(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BuildError) as rejected:
        files(values(**changes))
    assert complaint in str(rejected.value)


def test_more_tokens_than_the_model_has_are_rejected() -> None:
    with pytest.raises(BuildError, match="266 tokens; the embedding has 100 rows"):
        Vocabulary.read(Metadata("x.gguf", values()), 100)


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


def test_the_tokenizer_is_proved_as_any_other(tmp_path: Path) -> None:
    """What a build writes for Triton's models, from files that came out of a GGUF."""
    from build_scripts.source.tokenizer import write_tokenizer

    (tmp_path / "checkpoint").mkdir()
    for name, text in tokenizer_files(Vocabulary.read(Metadata("x.gguf", values()), 1 << 20)).items():
        (tmp_path / "checkpoint" / name).write_bytes(text)
    checkpoint = Checkpoint(tmp_path / "checkpoint", "x")
    write_tokenizer(checkpoint, len(values()["tokenizer.ggml.tokens"]), tmp_path / "tokenizer", tmp_path / "log")
    assert (tmp_path / "tokenizer" / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE


def test_the_kinds_of_tokens_are_the_packages_own() -> None:
    kinds = gguf.TokenType
    ours = (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE)
    assert ours == (kinds.NORMAL, kinds.UNKNOWN, kinds.CONTROL, kinds.USER_DEFINED, kinds.BYTE)


def test_vocabularies_are_compared_with_the_ids_beside_them(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    add_byte_level(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    (tmp_path / "a.gguf.inp").write_text("the\n__ggml_vocab_test__\n<|im_end|>", encoding="utf-8")
    (tmp_path / "a.gguf.out").write_text(f" {byte_level_tokens().index('t')} 260\n 2\n", encoding="utf-8")
    (tmp_path / "b.gguf").write_bytes(b"PK")
    assert list(compared(tmp_path)) == [
        "a.gguf: 2 of 2 texts",
        "b.gguf: its first bytes: takes 4 bytes at byte 0 of 2: truncated, or not a GGUF file",
    ]
