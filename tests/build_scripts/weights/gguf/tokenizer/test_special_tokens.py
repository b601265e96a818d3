"""Special tokens: which a text has, begins and ends with, and which end an answer."""

from __future__ import annotations

from typing import Any

import gguf
import pytest

from tests.build_scripts.weights.gguf.gguf_checkpoints import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
)
from tests.build_scripts.weights.gguf.tokenizer.values import files, tokenizer, values


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


@pytest.mark.parametrize(
    ("named", "eos", "expected"),
    [
        (("<|return|>", "<|call|>", "<|end|>"), "<|return|>", ["<|return|>", "<|call|>"]),  # gpt-oss, o200k_harmony
        (
            ("<|return|>", "<|call|>", "<|end|>"),
            "<|im_start|>",
            ["<|im_start|>", "<|im_end|>", "<|return|>", "<|call|>"],
        ),
        (
            ("<|calls|>", "<|flush|>", "<|end|>"),
            "<|endoftext|>",
            ["<|endoftext|>", "<|im_end|>", "<|calls|>", "<|flush|>"],
        ),
        (("[EOT]",), "<|endoftext|>", ["<|endoftext|>", "<|im_end|>", "[EOT]"]),
        (("<|end|>",), "<|endoftext|>", ["<|endoftext|>", "<|im_end|>", "<|end|>"]),  # Phi 3
    ],
)
def test_a_token_that_ends_a_part_ends_no_answer(named: tuple[str, ...], eos: str, expected: list[str]) -> None:
    given = values()
    tokens = [*given["tokenizer.ggml.tokens"], *named]
    kinds = [*given["tokenizer.ggml.token_type"], *[CONTROL] * len(named)]
    made = files(values(tokens=tokens, token_type=kinds, eos_token_id=tokens.index(eos)))
    ends = made["generation_config.json"]["eos_token_id"]
    found = [tokens[end] for end in ends]
    assert set(found) == set(expected)


def test_the_kinds_of_tokens_are_the_packages_own() -> None:
    kinds = gguf.TokenType
    ours = (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE)
    assert ours == (kinds.NORMAL, kinds.UNKNOWN, kinds.CONTROL, kinds.USER_DEFINED, kinds.BYTE)
