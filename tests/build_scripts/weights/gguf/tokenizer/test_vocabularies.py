"""The command that compares real vocabularies with the ids beside them."""

from __future__ import annotations

from pathlib import Path

import gguf

from tests.build_scripts.weights.gguf.gguf_checkpoints import (
    add_byte_level,
    byte_level_tokens,
)
from tests.build_scripts.weights.gguf.tokenizer.vocabularies import compared


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
