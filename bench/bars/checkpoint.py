"""A Llama of about 90 million random parameters with the demo's tokenizer: `python -m bench.bars.checkpoint DIR`.

What it says is noise; what it costs is what a trained model of its shape costs. A process of its own: it imports torch.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Final

TOKENIZER: Final = Path(__file__).resolve().parents[2] / "engines" / "demo" / "checkpoint"
SHAPE: Final[dict[str, Any]] = {
    "vocab_size": 2048,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


def write(directory: Path) -> None:
    """Write the checkpoint, whole or not at all."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    ends = GenerationConfig.from_pretrained(TOKENIZER)
    torch.manual_seed(0)
    config = LlamaConfig(**{**SHAPE, "eos_token_id": ends.eos_token_id, "bos_token_id": ends.bos_token_id})
    model: Any = LlamaForCausalLM(config)
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.half().save_pretrained(partial)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TOKENIZER / name, partial)
    partial.rename(directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
