"""Phi-3, Phi-3.5 and Phi-4: Llama with q, k and v in one weight and gate and up in another.

The long ones stretch each frequency of the rotary embedding by a factor of its own, of which there are two sets: for
sequences within the length that the model was first trained on, and for longer ones. TensorRT-LLM's compiled attention
chooses between them by the longest prompt of a batch, whatever the others are (plugins/gptAttentionPlugin.cpp), so that
an engine is limited to the first length (`Decoder.exact_length`). (models/phi3/{config,model}.py@033f406, @1479eaf.)
"""

from __future__ import annotations

from typing import Any, Final

from build_scripts.architectures.config_values import ConfigValues, is_positive
from build_scripts.architectures.rope import read_rope, section_of
from build_scripts.architectures.values import LONGROPE, Rope

_ORIGINAL: Final = "original_max_position_embeddings"
_FACTORS: Final = ("short_factor", "long_factor")
_OLD_NAMES: Final = ("su", "yarn")  # of the same scaling, in the first releases


def traits(config: ConfigValues) -> dict[str, Any]:
    config.activation("hidden_act", "silu", "silu")
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if config.head_size(hidden, heads) * heads != hidden:
        raise config.not_compiled("head_dim", "must be hidden_size / num_attention_heads (TensorRT-LLM's Phi-3)")
    if config.values.get("sliding_window") is None:
        return {"fused": True}
    return {"fused": True, "sliding_window": config.count("sliding_window")}


def rope(config: ConfigValues) -> Rope:
    """With `short_factor`, `long_factor` and `original_max_position_embeddings` as its scaling."""
    key = section_of(config)
    given = config.values.get(key)
    section = dict(given) if isinstance(given, dict) else given
    if isinstance(section, dict):
        kind = section.pop("type", None)
        kind = section.pop("rope_type", kind)
        section["rope_type"] = LONGROPE if kind in _OLD_NAMES else kind
    values = ConfigValues(config.source, {**config.values, key: section})
    found = read_rope(values, {LONGROPE: ()}, fraction=1.0)
    if found.scaling is None:
        return found
    head = config.count("hidden_size") // config.count("num_attention_heads")
    scaling: dict[str, Any] = {"rope_type": LONGROPE}
    for name in _FACTORS:
        scaling[name] = _factors(values, key, name, found.scaling.get(name), int(head * found.fraction) // 2)
    original = config.values.get(_ORIGINAL)
    original = found.scaling.get(_ORIGINAL) if original is None else original
    scaling[_ORIGINAL] = ConfigValues(config.source, {_ORIGINAL: original}).count(_ORIGINAL, 4096)
    if found.scaling.get("attention_factor") is not None:
        raise config.not_compiled(key, "attention_factor must be absent: TensorRT-LLM computes it")
    return Rope(found.theta, scaling, found.fraction)


def _factors(config: ConfigValues, key: str, name: str, given: object, count: int) -> list[float]:
    if not isinstance(given, list) or len(given) != count or not all(map(is_positive, given)):
        raise config.error(key, f"{name} must be {count} numbers > 0, half of what is turned of a head")
    return [float(value) for value in given]
