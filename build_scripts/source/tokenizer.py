"""The tokenizer as the Triton models read it: tokenizer.json, tokenizer_config.json, chat_template.jinja."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build_scripts.source.chat_templates import DEFAULT, TOOL_USE, chat_templates
from build_scripts.source.checkpoint import Checkpoint
from build_scripts.source.tokenizer_proof import MEMORY_BYTES, PROOF_S, prove
from build_scripts.vocabulary.conversion import convert_vocabulary
from build_scripts.vocabulary.files import ADDED_TOKENS, CONFIG, SPECIAL_TOKENS, TEMPLATE, TOKENIZER, VOCABULARY_FILES
from build_scripts.vocabulary.settings import TokenizerSettings, apply_settings
from build_scripts.weights.strict_json import parse_object
from build_scripts.work import progress
from build_scripts.work.bounds import bound
from build_scripts.work.child import Child
from triton_repo.contract.errors import BuildError
from triton_repo.preprocess.chat_template import TOOL_TEMPLATE

# Keys that name code of the checkpoint, and the template, which has a file of its own.
_DROPPED: Final = ("auto_map", "chat_template")
_WRITTEN: Final = {DEFAULT: TEMPLATE, TOOL_USE: TOOL_TEMPLATE}
_CPU_S: Final = 120  # the largest vocabularies take some seconds
_FOUND: Final = "found.json"  # what a child found out, for its parent


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What an engine takes from its tokenizer: the ids that it and its chat template end an answer with."""

    end_token_ids: tuple[int, ...]


def write_tokenizer(checkpoint: Checkpoint, vocab_size: int, output: Path, log: Path) -> TokenizerFacts:
    """Write the tokenizer of `checkpoint` into the new directory `output`, and prove it and its chat template.

    `vocab_size` is the model's.

    Raises:
        BuildError: there is none, it cannot be read, or its template renders no conversation.
    """
    output.mkdir()
    found = output / _FOUND
    if not any((checkpoint.directory / name).is_file() for name in (TOKENIZER, *VOCABULARY_FILES)):
        raise BuildError(f"{checkpoint.source}: no tokenizer: neither {TOKENIZER} nor {', '.join(VOCABULARY_FILES)}")
    Child("tokenizer", log).call(write, str(checkpoint.directory), str(output), vocab_size, str(found))
    notes = json.loads(found.read_bytes())["notes"]
    proof = "tokenizer and chat template" if (output / TEMPLATE).exists() else "tokenizer"
    Child(proof, log, timeout_s=PROOF_S).call(prove, str(output), str(found))
    proven = json.loads(found.read_bytes())
    found.unlink()
    for note in [*notes, *proven["notes"]]:
        progress.say(f"{checkpoint.source}: {note}")
    return TokenizerFacts(tuple(number for number in proven["end_token_ids"] if number < vocab_size))


def write(checkpoint: str, output: str, vocab_size: int, found: str) -> None:
    """Write the files into `output`, and notes for people into `found`. For a child process.

    Raises:
        BuildError: a file is broken, or of a kind that has no form in tokenizer.json.
    """
    source, target = Path(checkpoint), Path(output)
    if (source / TOKENIZER).is_file():
        text, config = (source / TOKENIZER).read_text(encoding="utf-8-sig"), _config(source)
    elif (converted := convert_vocabulary(source, _config(source))) is not None:
        tokenizer, defaults = converted
        text, config = str(tokenizer.to_str()), {**defaults, **_config(source)}
    else:
        _convert_by_transformers(checkpoint, output)
        text, config = (target / TOKENIZER).read_text(encoding="utf-8"), _config(target)
    templates = chat_templates(source, config)
    bound(_CPU_S, MEMORY_BYTES)  # a tokenizer.json may turn one letter into any number of them
    text, notes = apply_settings(text, TokenizerSettings(config, _read(source / ADDED_TOKENS), vocab_size))
    for path in target.iterdir():
        path.unlink()
    (target / TOKENIZER).write_text(text, encoding="utf-8")
    kept = {key: value for key, value in config.items() if key not in _DROPPED}
    (target / CONFIG).write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, file in _WRITTEN.items():
        if name in templates and DEFAULT in templates:
            (target / file).write_bytes(templates[name])
    if templates and DEFAULT not in templates:
        notes.append(f"no chat: its chat templates are {', '.join(sorted(templates))}, and none is {DEFAULT}")
    Path(found).write_text(json.dumps({"notes": notes}), encoding="utf-8")


def chat_template(checkpoint: Checkpoint) -> bytes | None:
    """The template that `write_tokenizer` writes for chats without tools. Raises: BuildError: a file is no object."""
    return chat_templates(checkpoint.directory, _config(checkpoint.directory)).get(DEFAULT)


def _convert_by_transformers(checkpoint: str, output: str) -> None:
    """Write the fast form of a tokenizer that has only vocab.json and merges.txt, or vocab.txt."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False, local_files_only=True, use_fast=True)
    tokenizer.save_pretrained(output)
    if not Path(output, TOKENIZER).is_file():
        raise ValueError(f"{type(tokenizer).__name__} has no fast form ({TOKENIZER})")


def _config(directory: Path) -> dict[str, Any]:
    """Older checkpoints name the special tokens in a file of their own."""
    return {**_read(directory / SPECIAL_TOKENS), **_read(directory / CONFIG)}


def _read(file: Path) -> dict[str, Any]:
    return parse_object(file.read_bytes(), str(file), repeated_keys=True) if file.is_file() else {}
