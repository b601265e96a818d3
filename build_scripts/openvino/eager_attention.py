"""Architectures whose attention transformers computes step by step, with OpenVINO's one operation in its place.

The pipeline finds attention by that operation, and its mask by the shape of the graph that makes it: it knows causal
masks, sliding windows as transformers' masking_utils make them, and ALiBi's slopes times the positions of the keys. Of
any other mask it keeps nothing but that it is causal.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, Final

_GPT_NEO: Final = "transformers.models.gpt_neo.modeling_gpt_neo"


def computes_attention_itself(model: Any) -> bool:
    return any(type(module).__name__ in _FORWARDS for module in model.modules())


def use_openvinos_attention(model: Any) -> None:
    """For good: the model is of no use for anything but its export afterwards."""
    for module in model.modules():
        if forward := _FORWARDS.get(type(module).__name__):
            module.forward = MethodType(forward, module)
    if model.config.model_type == "gpt_neo" or type(model).__name__ == "GPTNeoForCausalLM":
        importlib.import_module(_GPT_NEO).create_causal_mask = _global_and_local  # type: ignore[attr-defined]


def _global_and_local(**arguments: Any) -> dict[str, Any]:
    """GPT-Neo cuts its windows out of one mask, in each layer."""
    from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

    config = copy.copy(arguments["config"])
    config.sliding_window = config.window_size
    local = create_sliding_window_causal_mask(**{**arguments, "config": config})
    return {"global": create_causal_mask(**arguments), "local": local}


def _gpt_neo(self: Any, hidden_states: Any, attention_mask: Any = None, layer_past: Any = None, **_: Any) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    query, key, value = (
        self._split_heads(projection(hidden_states), self.num_heads, self.head_dim)
        for projection in (self.q_proj, self.k_proj, self.v_proj)
    )
    if layer_past is not None:
        key, value = layer_past.update(key, value, self.layer_id)
    mask = attention_mask[self.attention_type]
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    return self.out_proj(self._merge_heads(mixed, self.num_heads, self.head_dim)), None


def _xglm(self: Any, hidden_states: Any, past_key_values: Any = None, attention_mask: Any = None, **_: Any) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    batch, length, _size = hidden_states.shape
    query, key, value = (
        projection(hidden_states).view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
        for projection in (self.q_proj, self.k_proj, self.v_proj)
    )
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, self.layer_idx)
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
    return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, self.embed_dim)), None


def _mpt(self: Any, hidden_states: Any, past_key_values: Any = None, attention_mask: Any = None, **_: Any) -> Any:
    """ALiBi grows by its slope with each position, and only what it grows by counts in a softmax."""
    import torch
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    batch, length, _size = hidden_states.shape
    mixed = self.Wqkv(hidden_states)
    if self.clip_qkv:
        mixed = mixed.clamp(min=-self.clip_qkv, max=self.clip_qkv)
    query, key, value = (
        part.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2) for part in mixed.chunk(3, dim=2)
    )
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, self.layer_idx)
    slopes = -build_mpt_alibi_tensor(self.n_heads, 2)[None, :, :, 0]  # of position -1: [1, heads, 1]
    positions = (~attention_mask[:, 0, -1:]).float().cumsum(-1)  # of what the last token sees: [batch, 1, keys]
    bias = (slopes * positions).reshape(batch * self.n_heads, 1, -1).reshape(batch, self.n_heads, 1, -1)
    bias = bias.masked_fill(attention_mask, torch.finfo(bias.dtype).min)
    attend = torch.nn.functional.scaled_dot_product_attention
    mixed = attend(query, key, value, attn_mask=bias, scale=self.softmax_scale)
    return self.out_proj(mixed.permute(0, 2, 1, 3).reshape(batch, length, -1)), None


_FORWARDS: Final[Mapping[str, Callable[..., Any]]] = {
    "GPTNeoSelfAttention": _gpt_neo,
    "MptAttention": _mpt,
    "XGLMAttention": _xglm,
}
