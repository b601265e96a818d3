"""The export of a causal language model that optimum-intel does not know: a decoder like the others.

What its KV cache looks like is found by running it once: number of layers, heads and head sizes, of keys and values.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from optimum.exporters.openvino.config import TextDecoderOpenVINOConfig, TextDecoderWithPositionIdsOpenVINOConfig
from optimum.exporters.openvino.model_patcher import (
    OVDecoderModelPatcher,
    batched_mm_experts_forward_patched,
    register_ov_batched_mm,
)
from optimum.utils import NormalizedTextConfig
from optimum.utils.input_generators import DummyPastKeyValuesGenerator, DummyTextInputGenerator
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from build_scripts.openvino.eager_attention import use_openvinos_attention

Shapes = tuple[tuple[torch.Size, torch.Size], ...]


def decoder_config(model: Any, task: str) -> Any:
    """An export configuration of optimum-intel for transformers' `model`.

    Raises:
        ValueError: the model keeps something else than the keys and values of attention.
    """
    shapes = _cache_shapes(model)

    class PastKeyValues(DummyPastKeyValuesGenerator):  # type: ignore[misc]
        def __init__(self, *_: Any, batch_size: int = 2, sequence_length: int = 16, **__: Any) -> None:
            self.batch_size, self.sequence_length = batch_size, sequence_length

        def generate(self, *_: Any, framework: str = "pt", float_dtype: str = "fp32", **__: Any) -> Any:
            def dummy(shape: torch.Size) -> Any:
                sizes = (self.batch_size, shape[1], self.sequence_length, shape[3])
                return self.random_float_tensor(sizes, framework=framework, dtype=float_dtype)

            return [(dummy(key), dummy(value)) for key, value in shapes]

    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    base: Any = TextDecoderWithPositionIdsOpenVINOConfig if takes_positions else TextDecoderOpenVINOConfig

    class Config(base):  # type: ignore[misc]
        DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator, PastKeyValues)
        DUMMY_PKV_GENERATOR_CLASS = PastKeyValues
        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
        _MODEL_PATCHER = _Patcher

    config = Config(model.config, task=task, use_past=True, use_past_in_inputs=True)
    config._normalized_config.num_layers = len(shapes)
    return config


class _Patcher(OVDecoderModelPatcher):  # type: ignore[misc]
    """Experts that transformers holds as one tensor are multiplied as one: OpenVINO cannot trace the choice of some."""

    def __enter__(self) -> Any:
        super().__enter__()
        if any(hasattr(module, "gate_up_proj") and hasattr(module, "_apply_gate") for module in self._model.modules()):
            register_ov_batched_mm(self)
            ALL_EXPERTS_FUNCTIONS.register("ov_batched_mm", _all_experts)
        use_openvinos_attention(self._model)
        return self


def _all_experts(self: Any, hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """[tokens, hidden size]: optimum-intel's own has a dimension more, which some blocks add to others."""
    mixed: torch.Tensor = batched_mm_experts_forward_patched(self, hidden, index, weights)
    return mixed.reshape(hidden.shape)


def _cache_shapes(model: Any) -> Shapes:
    """Of one token: [1, heads, 1, head size] of the keys and of the values, by layer."""
    for module in model.modules():
        if hasattr(module, "_update_mamba_mask"):  # which transformers 5.5 cannot make where all layers are attention
            module._update_mamba_mask = lambda *_: None
    with torch.no_grad():
        answer = model(input_ids=torch.zeros((1, 1), dtype=torch.long), use_cache=True)
    layers = getattr(answer.get("past_key_values"), "layers", ())
    shapes = tuple((layer.keys.shape, layer.values.shape) for layer in layers if _is_attention(layer))
    if len(shapes) != len(layers) or not layers:
        raise ValueError("it keeps a state that is not the keys and values of attention, as state-space models do")
    return shapes


def _is_attention(layer: Any) -> bool:
    return isinstance(getattr(layer, "keys", None), torch.Tensor) and layer.keys.dim() == 4
