"""The tokenizer as the Triton models read it: tokenizer.json, tokenizer_config.json, chat_template.jinja."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any, Final

from build_scripts.source.checkpoint import Checkpoint
from build_scripts.weights.huggingface import VOCABULARY_FILES
from build_scripts.weights.strict_json import parse_object
from build_scripts.work.child import Child
from triton_repo.contract.errors import BuildError

TOKENIZER, _CONFIG, _TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
# Keys that name code of the checkpoint, and the template, which has a file of its own.
_DROPPED: Final = ("auto_map", "chat_template")

# Every template takes turns of a user and an assistant; a system prompt and tools are beyond some.
_PROBE: Final = {
    "messages": [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello. How can I help?"},
        {"role": "user", "content": "Who are you?"},
    ]
}
_PROBE_TOKENS: Final = 100_000
_PROBE_BYTES: Final = 4 << 30  # of address space; its libraries map a twentieth of it
_PROBE_S: Final = 300.0  # for a slow disk, and a busy machine: what a template may take is CPU time
_PROBE_CPU_S: Final = 10


def write_tokenizer(checkpoint: Checkpoint, output: Path, log: Path) -> None:
    """Write the tokenizer of `checkpoint` into the new directory `output`, and prove it and its chat template.

    Raises:
        BuildError: there is none, it cannot be read, or its template renders no plain conversation.
    """
    output.mkdir()
    source = checkpoint.directory
    if (source / TOKENIZER).is_file():
        shutil.copyfile(source / TOKENIZER, output / TOKENIZER)
    elif any((source / name).is_file() for name in VOCABULARY_FILES):
        Child("tokenizer", log).call(convert, str(source), str(output))
        source = output
    else:
        raise BuildError(f"{checkpoint.source}: no tokenizer: neither tokenizer.json nor {', '.join(VOCABULARY_FILES)}")
    # Older checkpoints name the special tokens in a file of their own.
    config = {**_read(source / "special_tokens_map.json"), **_read(source / _CONFIG)}
    template = _chat_template(source, config)
    kept = {key: value for key, value in config.items() if key not in _DROPPED}
    (output / "special_tokens_map.json").unlink(missing_ok=True)
    (output / _CONFIG).write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if template is not None:
        (output / _TEMPLATE).write_bytes(template)
    proof = "tokenizer" if template is None else "tokenizer and chat template"
    Child(proof, log, timeout_s=_PROBE_S).call(prove, str(output))


def convert(checkpoint: str, output: str) -> None:
    """Write the fast form of a tokenizer that has only a vocabulary or a sentencepiece model. For a child process."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False, local_files_only=True, use_fast=True)
    tokenizer.save_pretrained(output)
    if not Path(output, TOKENIZER).is_file():
        raise ValueError(f"{type(tokenizer).__name__} has no fast form (tokenizer.json)")


def prove(tokenizer_directory: str) -> None:
    """Encode a short conversation through the code that serves. For a child process.

    A template is code from outside: its time and memory are bounded here, its reach by the sandbox that runs it.
    """
    from triton_repo.preprocess.prompt import Prompt, PromptEncoder

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime) + _PROBE_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_PROBE_BYTES, _PROBE_BYTES))
    encoder = PromptEncoder.load(Path(tokenizer_directory), _PROBE_TOKENS)
    if Path(tokenizer_directory, _TEMPLATE).exists():
        encoder.encode(Prompt(chat=json.dumps(_PROBE).encode()))
    else:
        encoder.encode(Prompt(text=b"Hello!"))


def _read(file: Path) -> dict[str, Any]:
    return parse_object(file.read_bytes(), str(file)) if file.is_file() else {}


def _chat_template(directory: Path, config: dict[str, Any]) -> bytes | None:
    """From its own file, or out of tokenizer_config.json, which may hold several by name."""
    if (directory / _TEMPLATE).is_file():
        return (directory / _TEMPLATE).read_bytes()
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template.encode() if isinstance(template, str) else None
