"""The tokenizer of a directory that has no tokenizer.json, from the file of another format that it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from build_scripts.vocabulary.byte_level import convert_byte_level, is_tiktoken, read_tekken, read_tiktoken
from build_scripts.vocabulary.files import CONVERTED, TEKKEN
from build_scripts.vocabulary.sentencepiece import convert_sentencepiece, read_sentencepiece
from triton_repo.contract.errors import BuildError

# Classes that give the pieces of a SentencePiece model other ids than it gives them.
_RENUMBERED: Final = frozenset(
    f"{name}Tokenizer"
    for name in ("Barthez", "Camembert", "M2M100", "MBart", "MBart50", "Nllb", "Pegasus", "SeamlessM4T", "XGLM",
                 "XLMRoberta", "XLNet")
)  # fmt: skip


def convert_vocabulary(directory: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]] | None:
    """The tokenizer of the first of `files.CONVERTED` in the directory, and its own values for tokenizer_config.json.

    None where there is no such file. `config` has the values of the tokenizer_config.json that is there.

    Raises:
        BuildError: the file is broken, or of a kind that has no form in tokenizer.json.
    """
    path = next((directory / name for name in CONVERTED if (directory / name).is_file()), None)
    if path is None:
        return None
    data = path.read_bytes()
    if path.name == TEKKEN:
        vocabulary, ends = read_tekken(_object(data, path.name), path.name)
        return convert_byte_level(vocabulary), ends
    if is_tiktoken(data):
        vocabulary, ends = read_tiktoken(data, path.name)
        return convert_byte_level(vocabulary), ends
    name = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    if name in _RENUMBERED:
        raise BuildError(f"{path.name}: a {name} gives its pieces ids of its own; give tokenizer.json")
    model = read_sentencepiece(data, path.name)
    return convert_sentencepiece(model, legacy=config.get("legacy") is True), model.config()


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{where}: not valid JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise BuildError(f"{where}: must be a JSON object")
    return value
