"""Which of a model's end tokens ends a turn of chat: a library that keeps answers to guides lets one alone end them."""

from __future__ import annotations

import json
from collections.abc import Collection

from tokenizers import Tokenizer

from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.tokenizer_config import token_text


def ends_by_use(engine: EngineDirectory, tokenizer: Tokenizer, end_ids: Collection[int]) -> tuple[int, ...]:
    """First what the chat template writes most often: a conversation has many turns, and ends once."""
    template = engine.chat_template.read_text(encoding="utf-8") if engine.chat_template.is_file() else ""
    by_name = eos_token(engine)

    def uses(id: int) -> int:
        text = tokenizer.id_to_token(id)
        return (template.count(text) if text else 0) + (template.count("eos_token") if text == by_name else 0)

    return tuple(sorted(end_ids, key=uses, reverse=True))


def eos_token(engine: EngineDirectory) -> str | None:
    """What templates write by this name, and libraries take for the end."""
    file = engine.tokenizer / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return token_text(config.get("eos_token"))
