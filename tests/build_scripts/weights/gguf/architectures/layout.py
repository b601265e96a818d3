"""The weights of a saved checkpoint under llama.cpp's names and in its layout, as its converter makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gguf
import numpy as np
import torch

from tests.build_scripts.weights.gguf.gguf_checkpoints import permute

Arrays = dict[str, np.ndarray[Any, Any]]
Config = Mapping[str, Any]

_PERMUTED = (
    "llama", "granite", "granitemoe", "smollm3", "arcee", "olmo", "mistral3", "internlm2", "xverse", "minicpm",
)  # fmt: skip
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_EXPERTS = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")


def first(config: Config, names: tuple[str, ...], default: Any = None) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), default)


def stored(weights: Mapping[str, torch.Tensor], architecture: str, config: Config) -> Arrays:
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, first(config, ("num_hidden_layers", "n_layer", "n_layers")))
    found = {}
    for name, weight in _merged(weights):
        if ".act_fn." in name:
            continue
        for part, laid_out in _laid_out(name, weight, architecture, config):
            known = part.startswith("blk.")
            renamed = part if known else names.get_name(part, try_suffixes=(".weight", ".bias"))
            assert renamed is not None, part
            found[renamed] = laid_out.contiguous().numpy()
    return found


def _merged(weights: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Experts that are tensors of their own become one."""
    experts: dict[str, dict[int, torch.Tensor]] = {}
    for name, weight in weights.items():
        before, _, after = name.partition(".experts.")
        number, _, part = after.partition(".")
        if number.isdigit() and part.removesuffix(".weight") in _EXPERTS:
            experts.setdefault(f"{before}.experts.{part}", {})[int(number)] = weight
        else:
            yield name, weight
    for name, parts in experts.items():
        yield name, torch.stack([parts[number] for number in sorted(parts)])


def _laid_out(name: str, weight: torch.Tensor, architecture: str, config: Config) -> Iterator[tuple[str, torch.Tensor]]:
    if "input_linear" in name or "shared_mlp.output_linear" in name:
        yield from _granite(name, weight, config)
    elif architecture == "gpt-oss" and ".experts." in name:
        yield from _gpt_oss(name, weight)
    elif name.endswith("kv_b_proj.weight"):
        yield from _latent(name, weight, config)
    elif "query_key_value" in name:
        yield _known(name, architecture), _ungrouped(weight, architecture, config)
    elif name.endswith("e_score_correction_bias"):
        yield name.replace("e_score_correction_bias", "e_score_correction.bias"), weight.flatten()
    elif name.endswith("expert_bias"):
        yield f"{name}.bias", weight
    elif name.endswith(("sinks", "layer_scalar")) or (architecture == "gemma4" and ".experts." in name):
        yield f"{name}.weight", weight
    elif name.endswith("scale"):
        part = "ffn_gate_inp" if name.endswith("router.scale") else "ffn_down_exps"
        yield f"blk.{name.split('.')[2]}.{part}.scale", weight
    elif architecture == "llama" and "block_sparse_moe.experts" in name:
        yield name.replace("model.", "").replace("block_sparse_moe", "feed_forward"), weight
    else:
        yield _known(name, architecture), _reordered(name, weight, architecture, config)


def _known(name: str, architecture: str) -> str:
    """As the `gguf` package knows it."""
    name = name.replace("mlp.ffn_sub_norm", "mlp.ffn_layernorm").replace("attn_sub_norm", "inner_attn_ln")
    return name.removeprefix("transformer.") if architecture == "bloom" else name


def _reordered(name: str, weight: torch.Tensor, architecture: str, config: Config) -> torch.Tensor:
    if architecture in _PERMUTED and ("q_proj" in name or "k_proj" in name):
        return permute(weight, config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
    if architecture in {"gemma", "gemma2", "gemma3", "nemotron"} and name.endswith("norm.weight"):
        return weight + 1
    if architecture == "gpt2" and weight.dim() == 2 and ".h." in name:
        return weight.T
    return weight.squeeze(0) if "shared_expert_gate" in name else weight


def _ungrouped(weight: torch.Tensor, architecture: str, config: Config) -> torch.Tensor:
    """Queries, keys and values of each group of heads, as all queries, all keys, all values."""
    heads = first(config, _HEADS)
    groups = config["num_kv_heads"] if architecture == "falcon" else heads
    size = config["hidden_size"] // heads
    parts = weight.reshape(groups, heads // groups + 2, size, *weight.shape[1:])
    return torch.cat([part.reshape(-1, *weight.shape[1:]) for part in (parts[:, :-2], parts[:, -2], parts[:, -1])])


def _latent(name: str, weight: torch.Tensor, config: Config) -> Iterator[tuple[str, torch.Tensor]]:
    keys, values = config["qk_nope_head_dim"], config["v_head_dim"]
    heads = weight.reshape(config["num_attention_heads"], keys + values, -1)
    yield name.replace("kv_b_proj", "k_b_proj"), heads[:, :keys].transpose(1, 2)
    yield name.replace("kv_b_proj", "v_b_proj"), heads[:, keys:]


def _gpt_oss(name: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    bias = name.endswith("_bias")
    kind, whole = (".bias", weight) if bias else (".weight", weight.transpose(1, 2))
    before = name.removesuffix("_bias")
    if "down_proj" in name:
        yield before + kind, whole
        return
    for part, start in (("gate_proj", 0), ("up_proj", 1)):
        yield before.replace("gate_up_proj", part) + kind, whole[:, start::2]


def _granite(name: str, weight: torch.Tensor, config: Config) -> Iterator[tuple[str, torch.Tensor]]:
    layer = name.split(".")[2]
    kind = "exps" if "block_sparse_moe" in name else "shexp" if config["num_local_experts"] else ""
    names = {"exps": "mlp.experts.{}_proj", "shexp": "mlp.shared_experts.{}_proj", "": "mlp.{}_proj"}[kind]
    if "output" in name:
        yield f"model.layers.{layer}.{names.format('down')}.weight", weight
        return
    for part, half in zip(("gate", "up"), weight.chunk(2, dim=-2), strict=True):
        yield f"model.layers.{layer}.{names.format(part)}.weight", half
