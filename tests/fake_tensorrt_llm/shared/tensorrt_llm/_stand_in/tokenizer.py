from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer


def load_tokenizer(directory: Path, has_backend_class: bool) -> Any:
    """What transformers needs beside the tokenizer: the name of a class; 4.57 lacks the one that 5 saves."""
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    if "tokenizer_class" not in config:
        raise ValueError(f"Unrecognized model in {directory}")
    if not has_backend_class:
        if config["tokenizer_class"] == "TokenizersBackend":
            raise ValueError("Tokenizer class TokenizersBackend does not exist or is not currently imported.")
        config.get("extra_special_tokens", {}).keys()
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def guided_answer(tokenizer: Any, prompt: list[int], guides: list[Any]) -> list[int]:
    """The guide's own text; without a guide, or a tokenizer to follow one, the prompt."""
    if not guides or tokenizer is None:
        return prompt
    [guide] = guides
    ids: list[int] = tokenizer.encode("{}" if guide is True else guide).ids
    return ids


def adapted_answer(answer: list[int], adapter: Any) -> list[int]:
    """Each adapter turns the answer by its number."""
    if adapter is None:
        return answer
    turn = adapter.lora_int_id % len(answer)
    return [*answer[turn:], *answer[:turn]]
