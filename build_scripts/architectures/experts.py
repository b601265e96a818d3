"""How many experts a mixture has, and how many of them compute a token."""

from __future__ import annotations

from typing import Final

from build_scripts.architectures.config_values import MOST_LAYERS, ConfigValues

# Each expert of each layer is three tensors; the largest models have some hundreds in each of some tens of layers.
_MOST_EXPERTS: Final = 4096
_MOST_IN_ALL: Final = 1 << 16


def expert_counts(config: ConfigValues, key: str, count: int, per_token: int) -> tuple[int, int]:
    """Experts, by `key`, and those of a token; `count` and `per_token` are what transformers assumes.

    Raises:
        NotCompiled: there is one expert: TensorRT-LLM's model would be dense (layers/moe.py `MoeConfig.has_moe`).
        BuildError: a value is broken.
    """
    most = min(_MOST_EXPERTS, _MOST_IN_ALL // config.count("num_hidden_layers", most=MOST_LAYERS))
    found = config.count(key, count, most)
    if found == 1:
        raise config.not_compiled(key, f"must be ≥ 2 and ≤ {most} (TensorRT-LLM's model of one expert is dense)")
    chosen = config.count("num_experts_per_tok", per_token)
    if chosen > found:
        raise config.error("num_experts_per_tok", f"must be ≤ {found}, the number of experts")
    return found, chosen
