"""The sizes of a model as transformers makes it, without memory for its weights: a count that Conch has no part in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

# Moonshot's name of it, and decoders that transformers has only beside an encoder of images.
_SAME_MODEL: Final = {"kimi_k2": "deepseek_v3", "qwen3_vl_text": "qwen3", "qwen3_vl_moe_text": "qwen3_moe"}
_NEWER: Final = "indexer_types"  # what layers share; models of this transformers have all of it in every layer


@dataclass(frozen=True, slots=True)
class Counted:
    """Values of all weights, and values of the keys and values of one token; None where that cannot be told."""

    parameters: int
    kv_values_per_token: int | None


def count(config: Mapping[str, Any]) -> Counted | None:
    """None for a model that transformers does not know."""
    values = {key: value for key, value in config.items() if key not in {"auto_map", "quantization_config"}}
    model_type = _SAME_MODEL.get(str(config.get("model_type")), str(config.get("model_type")))
    if _NEWER in values and not hasattr(CONFIG_MAPPING[model_type], _NEWER):
        return None
    try:
        made = CONFIG_MAPPING[model_type].from_dict({**values, "model_type": model_type})
        with torch.device("meta"):
            model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(made)]
            model = model_class(made)
    except (KeyError, ValueError, TypeError, AttributeError, StrictDataclassError):
        return None
    return counted(model)


def counted(model: Any) -> Counted:
    weights = model.state_dict(keep_vars=True)
    distinct = {id(weight): weight.numel() for weight in weights.values()}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    return Counted(sum(distinct.values()), _kv_values(shapes))


def _kv_values(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Rows of the matrices that make keys and values; of a fused one, those that do not make queries."""
    total, found = 0, False
    for name, shape in shapes.items():
        block, _, kind = name.removesuffix(".weight").rpartition(".")
        if kind in {"k_proj", "v_proj", "kv_a_proj_with_mqa"} or name.endswith("indexer.wk.weight"):
            total, found = total + shape[0], True
        elif kind == "qkv_proj":
            total, found = total + shape[0] - shapes[f"{block}.o_proj.weight"][1], True
    return total if found else None
