"""Granite 3: Llama whose embedding, scores, residuals and logits have constant factors.

TensorRT-LLM computes them in its Llama (models/llama/{config,model}.py), and takes a factor of the scores of 1 for none
at all: `attention_multiplier` is therefore written times √head_size in any case (`sharding/trtllm_config.py`).
"""

from __future__ import annotations

from typing import Any

from build_scripts.architectures import llama
from build_scripts.architectures.config_values import ConfigValues
from build_scripts.architectures.values import Scales


def traits(config: ConfigValues) -> dict[str, Any]:
    scales = Scales(
        embedding=config.number("embedding_multiplier", 1.0),
        attention=config.number("attention_multiplier", 1.0),
        residual=config.number("residual_multiplier", 1.0),
        logits=1 / config.number("logits_scaling", 1.0),
    )
    return {**llama.traits(config), "scales": scales}
