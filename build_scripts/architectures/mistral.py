"""Mistral: Llama without biases; the first releases look back over a sliding window."""

from __future__ import annotations

from typing import Any, Final

from build_scripts.architectures.config_values import ConfigValues

_DEFAULT_WINDOW: Final = 4096  # what transformers assumes where the key is absent; null is no window


def traits(config: ConfigValues) -> dict[str, Any]:
    if "sliding_window" in config.values and config.values["sliding_window"] is None:
        return {}
    return {"sliding_window": config.count("sliding_window", _DEFAULT_WINDOW)}
