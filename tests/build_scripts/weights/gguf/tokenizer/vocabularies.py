"""`python -m tests.build_scripts.weights.gguf.tokenizer.vocabularies DIR`: tokenizers against llama.cpp's ids.

DIR is llama.cpp's `models/`: `ggml-vocab-X.gguf` is a real vocabulary, `….gguf.inp` has texts, `….gguf.out` the ids
that the model's own tokenizer gives them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from build_scripts.weights.gguf.header import read_header
from build_scripts.weights.gguf.metadata import Metadata
from build_scripts.weights.gguf.tokenizer.files import tokenizer_files
from build_scripts.weights.gguf.tokenizer.vocabulary import Vocabulary
from triton_repo.contract.errors import BuildError

_BETWEEN = "\n__ggml_vocab_test__\n"


def tokenizer_of(path: Path) -> Tokenizer:
    """Of a GGUF file, with or without weights. Raises: BuildError."""
    meta = Metadata(str(path), read_header(path).values)
    files = tokenizer_files(Vocabulary.read(meta, sys.maxsize))
    return Tokenizer.from_str(files["tokenizer.json"].decode())


def expected_ids(path: Path) -> Iterator[tuple[str, list[int]]]:
    """The texts beside the file, and their ids; none where there are none."""
    texts, ids = (path.with_name(f"{path.name}{suffix}") for suffix in (".inp", ".out"))
    if texts.is_file() and ids.is_file():
        lines = ids.read_text(encoding="utf-8").splitlines()
        for text, line in zip(texts.read_bytes().decode().split(_BETWEEN), lines, strict=False):
            yield text, [int(id) for id in line.split()]


def compared(directory: Path) -> Iterator[str]:
    """A line for each vocabulary."""
    for path in sorted(directory.glob("*.gguf")):
        try:
            tokenizer = tokenizer_of(path)
        except BuildError as error:
            yield f"{path.name}: {str(error).removeprefix(f'{path}: ')[:80]}"
            continue
        pairs = list(expected_ids(path))
        right = sum(tokenizer.encode(text, add_special_tokens=False).ids == ids for text, ids in pairs)
        yield f"{path.name}: {right} of {len(pairs)} texts"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in compared(Path(sys.argv[1])))
