"""The files beside tokenizer.json, templates and sampling; what is rejected, and by which key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from build_scripts.source.checkpoint import Checkpoint
from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.tokenizer.files import tokenizer_files
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from tests.build_scripts.weights.gguf.gguf_checkpoints import (
    TEMPLATE,
)
from tests.build_scripts.weights.gguf.tokenizer.values import files, values
from triton_repo.contract.errors import BuildError


def test_sampling_is_what_the_file_recommends() -> None:
    given = {**values(), "general.sampling.temp": 0.5, "general.sampling.top_k": 20}
    expected = {"bos_token_id": 1, "eos_token_id": 2, "do_sample": True, "temperature": 0.5, "top_k": 20}
    assert files(given)["generation_config.json"] == expected


def test_templates_keep_their_names() -> None:
    given = {**values(), "tokenizer.chat_templates": ["tool_use"], "tokenizer.chat_template.tool_use": "tools"}
    made = files(given)
    assert "chat_template.jinja" not in made  # it would hide those of the configuration
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


def test_the_tokenizer_is_proved_as_any_other(tmp_path: Path) -> None:
    """What a build writes for Triton's models, from files that came out of a GGUF."""
    from build_scripts.source.tokenizer import write_tokenizer

    (tmp_path / "checkpoint").mkdir()
    for name, text in tokenizer_files(Vocabulary.read(Metadata("x.gguf", values()), 1 << 20)).items():
        (tmp_path / "checkpoint" / name).write_bytes(text)
    checkpoint = Checkpoint(tmp_path / "checkpoint", "x")
    write_tokenizer(checkpoint, len(values()["tokenizer.ggml.tokens"]), tmp_path / "tokenizer", tmp_path / "log")
    assert (tmp_path / "tokenizer" / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE
