"""The tokenizer in a NeMo checkpoint: its files under HuggingFace's names, its size, its special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from build_scripts.vocabulary.sentencepiece import convert_sentencepiece, read_sentencepiece
from build_scripts.weights.file_span import FileSpan, Members, select
from build_scripts.weights.huggingface import TEXT_FILES
from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError

_MAX_BYTES: Final = 128 << 20
_NEMO: Final = "nemo:"  # before the name of a member of the same archive
_SENTENCEPIECE: Final = "tokenizer.model"


@dataclass(frozen=True, slots=True)
class NemoTokenizer:
    """`size` counts tokens and is None where no file has it; the ids are those that begin and end a text."""

    files: Mapping[str, bytes]
    size: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None


def tokenizer_of_archive(members: Members, section: object, where: str) -> NemoTokenizer:
    """Of NeMo 1: the sentencepiece model, or the tokenizer.json, that the `tokenizer` section names. Others: no files.

    Raises:
        BuildError: the section names a member that is not there, or the file is broken.
    """
    section = section if isinstance(section, Mapping) else {}
    for key in ("model", "tokenizer_model", "type"):
        value = section.get(key)
        if isinstance(value, str) and value.startswith(_NEMO):
            name = value.removeprefix(_NEMO)
            if name not in members:
                raise BuildError(f"{where}: tokenizer.{key} = {value!r:.120}; there is no such member")
            target = "tokenizer.json" if name.endswith(".json") else _SENTENCEPIECE
            return _described({target: members[name]})
    return NemoTokenizer({})


def tokenizer_of_directory(members: Members, *folders: str) -> NemoTokenizer:
    """Of NeMo 2 and Megatron-Bridge: HuggingFace's files in the first of `folders` that has any."""
    for folder in folders:
        found = select(members, folder, lambda name: name in TEXT_FILES)
        if found.keys() - {"generation_config.json"}:
            return _described(found)
    return NemoTokenizer({})


def _described(spans: Mapping[str, FileSpan]) -> NemoTokenizer:
    files = {name: span.read(_MAX_BYTES) for name, span in spans.items()}
    if "tokenizer.json" in files:
        return _described_json(files, str(spans["tokenizer.json"]))
    if _SENTENCEPIECE in files:
        return _described_sentencepiece(files, str(spans[_SENTENCEPIECE]))
    return NemoTokenizer(files)


def _described_json(files: Mapping[str, bytes], where: str) -> NemoTokenizer:
    tokenizer = parse_object(files["tokenizer.json"], where)
    config = parse_object(files.get("tokenizer_config.json", b"{}"), f"{where}: its tokenizer_config.json")
    pieces = _vocabulary(tokenizer.get("model"))
    ids = {**pieces, **_added(tokenizer.get("added_tokens"))}
    size = 1 + max(ids.values()) if pieces else None  # added tokens alone are no vocabulary
    return NemoTokenizer(files, size, ids.get(_text(config.get("bos_token"))), ids.get(_text(config.get("eos_token"))))


def _vocabulary(model: object) -> dict[str, int]:
    """Text -> id. A Unigram model lists its pieces with their scores, in the order of their ids; all others map."""
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        pairs = [(piece[0], id) for id, piece in enumerate(vocabulary) if isinstance(piece, list) and piece]
    else:
        pairs = list(vocabulary.items()) if isinstance(vocabulary, dict) else []
    return {text: id for text, id in pairs if isinstance(text, str) and type(id) is int}


def _added(tokens: object) -> dict[str, int]:
    given = [token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []
    pairs = [(token.get("content"), token.get("id")) for token in given]
    return {text: id for text, id in pairs if isinstance(text, str) and type(id) is int}


def _text(token: Any) -> str:
    return str(token.get("content", "") if isinstance(token, dict) else token)


def _described_sentencepiece(files: Mapping[str, bytes], where: str) -> NemoTokenizer:
    """With its tokenizer.json, so that no reader takes a Unigram model for what the name of a class says."""
    model = read_sentencepiece(files[_SENTENCEPIECE], where)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **model.config()}
    described = {
        "tokenizer.json": str(convert_sentencepiece(model, legacy=False).to_str()).encode(),
        "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
    }
    bos, eos = model.end("bos"), model.end("eos")
    return NemoTokenizer({**files, **described}, model.size, bos and bos[0], eos and eos[0])
