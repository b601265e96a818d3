"""Gemma 1, 2 and 3 (text): GELU, embeddings times √hidden_size, norms that multiply by 1 + w, a tied head.

Gemma 2 and 3 have a norm before and behind each block, and scores of their own scale. Gemma 2 bounds scores and logits;
its odd layers look back over a window. Gemma 3 norms each head of q and k, and all but every sixth of its layers look
back over a window, with a rotary embedding of their own.

TensorRT-LLM 1.2 (tensorrt_llm/models/gemma/{config,model}.py@9df6d72, @5dedf53; layers/attention.py) counts the layers
of Gemma 3 by a pattern, and stretches both of its rotary embeddings where one is to be stretched: such a model, which
all but the smallest are, is not compiled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from build_scripts.architectures.config_values import ConfigValues
from build_scripts.architectures.rope import read_rope
from build_scripts.architectures.values import Rope, Scales

_ACTIVATION: Final = "gelu_pytorch_tanh"
_FULL, _SLIDING = "full_attention", "sliding_attention"
_GEMMA2_PATTERN: Final = 2
_PATTERN: Final = 6  # of Gemma 3, where the configuration is silent
_THETA, _LOCAL_THETA = 1e6, 1e4


def traits(config: ConfigValues) -> dict[str, Any]:
    """Gemma 1, which calls its activation by either name."""
    key = "hidden_activation" if config.values.get("hidden_activation") is not None else "hidden_act"
    config.activation(key, _ACTIVATION, _ACTIVATION)
    _no_bias(config)
    return {"hidden_act": "gelu", "scales": Scales(embedding=_embedding(config))}


def gemma2_traits(config: ConfigValues) -> dict[str, Any]:
    scales = _scales(
        config,
        config.optional_number("attn_logit_softcapping", 50.0),
        config.optional_number("final_logit_softcapping", 30.0),
    )
    window = config.count("sliding_window", 4096)
    if _pattern(config, _GEMMA2_PATTERN) != _GEMMA2_PATTERN:
        raise config.not_compiled("layer_types", "must alternate (TensorRT-LLM's Gemma 2)")
    return {"hidden_act": "gelu", "scales": scales, "sliding_window": window, "full_every": _GEMMA2_PATTERN}


def gemma3_traits(config: ConfigValues) -> dict[str, Any]:
    config.must_be_off("use_bidirectional_attention", "attention is causal")
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.optional_number(key) is not None:
            raise config.not_compiled(key, "must be null: TensorRT-LLM's Gemma 3 bounds nothing")
    return {
        "hidden_act": "gelu",
        "qk_norm": True,
        "scales": _scales(config, None, None),
        "sliding_window": config.count("sliding_window", 4096),
        "full_every": _full_every(config),
    }


def gemma3_rope(config: ConfigValues) -> Rope:
    """One embedding for layers that see all, which alone may be stretched, and one for those with a window."""
    local_theta = config.number("rope_local_base_freq", _LOCAL_THETA)
    given = config.values.get("rope_parameters")
    if not isinstance(given, Mapping) or not given.keys() & {_FULL, _SLIDING}:
        return Rope(read_rope(config, {}, theta=_THETA).theta, local_theta=local_theta)
    full, local = (f"rope_parameters.{kind}" for kind in (_FULL, _SLIDING))
    sections = {full: given.get(_FULL), local: given.get(_SLIDING)}
    rope = read_rope(ConfigValues(config.source, {**config.values, **sections}), {}, theta=_THETA, section=full)
    local_rope = read_rope(ConfigValues(config.source, sections), {}, theta=local_theta, section=local)
    return Rope(rope.theta, local_theta=local_rope.theta)


def _scales(config: ConfigValues, attention_cap: float | None, logits_cap: float | None) -> Scales:
    config.activation("hidden_activation", _ACTIVATION, _ACTIVATION)
    _no_bias(config)
    attention = config.number("query_pre_attn_scalar", 256.0) ** -0.5
    return Scales(_embedding(config), attention, attention_cap=attention_cap, logits_cap=logits_cap)


def _embedding(config: ConfigValues) -> float:
    return math.sqrt(config.count("hidden_size"))


def _no_bias(config: ConfigValues) -> None:
    config.must_be_off("attention_bias", "of these models none has the bias")


def _full_every(config: ConfigValues) -> int:
    """Which layers look back over all tokens: those of the list, or every so manieth."""
    keys = ("sliding_window_pattern", "_sliding_window_pattern")
    given = next((key for key in keys if config.values.get(key) is not None), keys[0])
    return _pattern(config, config.count(given, _PATTERN))


def _pattern(config: ConfigValues, silent: int) -> int:
    """`layer_types` as a pattern; `silent` where there is none."""
    kinds = config.values.get("layer_types")
    if kinds is None:
        return silent
    num_layers = config.count("num_hidden_layers")
    if not isinstance(kinds, list) or len(kinds) != num_layers:
        raise config.error("layer_types", f"must be a list of num_hidden_layers ({num_layers}) kinds")
    every = kinds.index(_FULL) + 1 if _FULL in kinds else len(kinds) + 1
    if kinds != [_SLIDING if (index + 1) % every else _FULL for index in range(len(kinds))]:
        raise config.not_compiled("layer_types", "must repeat one pattern that ends with full_attention")
    return every
