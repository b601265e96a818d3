"""Qwen2 and Qwen2.5: biases on q, k and v, and on nothing else; a window counts only where it is switched on."""

from __future__ import annotations

from typing import Any

from build_scripts.architectures.config_values import ConfigValues


def traits(config: ConfigValues) -> dict[str, Any]:
    if config.flag("use_sliding_window"):
        raise config.error("use_sliding_window", "allowed: false (windows by layer are not converted)")
    return {"qkv_bias": True}
