"""Which token ends a guided answer on TensorRT-LLM: the one that transformers reads as the tokenizer's end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models
from transformers import AutoTokenizer

from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.engine.runtimes.tensorrt_llm.guide_tokenizer import guide_tokenizer

SETTINGS = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "unk_token": "a", "bos_token": "<eos>"}


@pytest.fixture
def engine(tmp_path: Path) -> EngineDirectory:
    """Its end tokens are 1, which its tokenizer names, and 2, which ends a turn of its chats."""
    engine = EngineDirectory(tmp_path)
    engine.tokenizer.mkdir()
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("<eos>", "<end_of_turn>")])
    tokenizer.save(str(engine.tokenizer_file))
    (engine.tokenizer / "tokenizer_config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    (engine.tokenizer / "special_tokens_map.json").write_text('{"eos_token": "<eos>"}', encoding="utf-8")
    engine.chat_template.write_text("{{ x }}<end_of_turn>", encoding="utf-8")
    return engine


def test_the_token_that_ends_a_turn_ends_a_guided_answer(engine: EngineDirectory) -> None:
    with guide_tokenizer(engine, engine_config(vocab_size=3, eos_token_ids=(1, 2))) as directory:
        assert directory != engine.tokenizer
        tokenizer = AutoTokenizer.from_pretrained(directory)
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.encode("a")) == (2, 1, [0])
    assert not directory.exists()
    assert json.loads((engine.tokenizer / "tokenizer_config.json").read_text(encoding="utf-8")) == SETTINGS


@pytest.mark.parametrize("ends", [(), (1,)])
def test_an_engine_without_another_end_has_its_own_tokenizer(engine: EngineDirectory, ends: tuple[int, ...]) -> None:
    with guide_tokenizer(engine, engine_config(vocab_size=3, eos_token_ids=ends)) as directory:
        assert directory == engine.tokenizer


def test_the_end_that_templates_write_by_its_name_counts(engine: EngineDirectory) -> None:
    engine.chat_template.write_text("{{ x }}{{ eos_token }}", encoding="utf-8")
    with guide_tokenizer(engine, engine_config(vocab_size=3, eos_token_ids=(2, 1))) as directory:
        assert directory == engine.tokenizer
