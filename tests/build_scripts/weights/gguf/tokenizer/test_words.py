"""How a text is split into words before merges apply."""

from __future__ import annotations

import pytest

from build_scripts.weights.gguf.tokenizer.splits import SPLITTINGS
from tests.build_scripts.weights.gguf.mixed_text import mixed_lines
from tests.build_scripts.weights.gguf.tokenizer.values import files, tokenizer, values
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
    "kimi-k2": "I'm| HTTPServer| |123|45| | x|!=|y|\n\n| | |你好|,| |3½| WE'LL|\t|.",
    "afmoe": "I|'m| HTTPServer| |12|345| | x|!=|y|\n\n|  |你好|,| |3|½| WE|'LL|\t|.",
    "superbpe": "I'm HTTPServer |12|345|  x!=y\n\n  你好, |3|½| WE'LL\t.",
    "chameleon": "I|'|m| HTTPServer| |1|2|3|4|5|  |x|!|=|y|\n|\n|  |你好|,| |3|½| WE|'|LL|\t|.",
}
ALIKE = {
    "jais-2": "llama-bpe",
    "laguna": "qwen2",
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
