"""A small checkpoint of an architecture, with random weights and the demo's tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from bench.architectures.catalog import Architecture

_DEMO: Final = Path(__file__).parents[2] / "engines" / "demo" / "checkpoint"
_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
# Large enough that the logprobs of different tokens, and of right and wrong attention, lie far apart.
_COMMON: Final = {"initializer_range": 0.35, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
_SEED: Final = 0


def write_checkpoint(architecture: Architecture, directory: Path) -> None:
    """Write it into the new `directory`; the same at every call. Imports torch."""
    import torch
    import transformers

    vocab_size = json.loads((_DEMO / "config.json").read_bytes())["vocab_size"]
    config_class: Any = getattr(transformers, f"{architecture.config}Config")
    config = config_class(vocab_size=vocab_size, **{**_COMMON, **architecture.values})
    torch.manual_seed(_SEED)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    for name in _TOKENIZER:
        shutil.copyfile(_DEMO / name, directory / name)
