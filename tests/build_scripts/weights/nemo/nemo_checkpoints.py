"""NeMo and Megatron-Bridge checkpoints made from HuggingFace ones, by the published layout and none of our own code."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

State = dict[str, torch.Tensor]
DIVISIBLE = 16  # rows of the vocabulary, per tensor rank


def megatron_state(directory: Path, engine: bool = True) -> State:
    """Megatron-core's weights of the HuggingFace checkpoint; `engine`: with Transformer Engine's names."""
    weights = load_file(directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    norms = {
        "self_attention.linear_qkv.layer_norm_weight" if engine else "input_layernorm.weight": "input_layernorm.weight",
        "mlp.linear_fc1.layer_norm_weight" if engine else "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    }
    state = {"embedding.word_embeddings.weight": padded(weights["model.embed_tokens.weight"])}
    for layer in range(config["num_hidden_layers"]):
        ours, theirs = f"decoder.layers.{layer}", f"model.layers.{layer}"
        for name, original in norms.items():
            state[f"{ours}.{name}"] = weights[f"{theirs}.{original}"]
        for kind in ("weight", "bias"):
            found = _present(weights, [f"{theirs}.self_attn.{which}_proj.{kind}" for which in "qkv"])
            if found:
                state[f"{ours}.self_attention.linear_qkv.{kind}"] = interleaved(found, heads, groups)
            pair = _present(weights, [f"{theirs}.mlp.{which}_proj.{kind}" for which in ("gate", "up")])
            if pair:
                state[f"{ours}.mlp.linear_fc1.{kind}"] = torch.cat(pair)
            for name, original in (
                ("self_attention.linear_proj", "self_attn.o_proj"),
                ("mlp.linear_fc2", "mlp.down_proj"),
                ("self_attention.q_layernorm", "self_attn.q_norm"),
                ("self_attention.k_layernorm", "self_attn.k_norm"),
            ):
                if f"{theirs}.{original}.{kind}" in weights:
                    state[f"{ours}.{name}.{kind}"] = weights[f"{theirs}.{original}.{kind}"]
    state["decoder.final_layernorm.weight"] = weights["model.norm.weight"]
    if "lm_head.weight" in weights:
        state["output_layer.weight"] = padded(weights["lm_head.weight"])
    return state


def _present(weights: State, names: list[str]) -> list[torch.Tensor]:
    return [weights[name] for name in names if name in weights]


def interleaved(parts: list[torch.Tensor], heads: int, groups: int) -> torch.Tensor:
    """Query heads of a group, its key, its value; group after group."""
    query, key, value = parts
    size = query.shape[0] // heads
    per_group = heads // groups * size
    rows = []
    for group in range(groups):
        rows += [query[group * per_group : (group + 1) * per_group]]
        rows += [part[group * size : (group + 1) * size] for part in (key, value)]
    return torch.cat(rows)


def padded(table: torch.Tensor) -> torch.Tensor:
    missing = -table.shape[0] % DIVISIBLE
    return torch.cat([table, torch.full((missing, table.shape[1]), 7.0, dtype=table.dtype)])


def split(state: State, tp: int, pp: int) -> dict[tuple[int, int], State]:
    """(tensor rank, pipeline rank) -> its weights; the first stages have the odd layers."""
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("decoder.layers."))
    sizes = [layers // pp + (stage < layers % pp) for stage in range(pp)]
    starts = [sum(sizes[:stage]) for stage in range(pp)]
    ranks: dict[tuple[int, int], State] = {(t, p): {} for t in range(tp) for p in range(pp)}
    for name, tensor in state.items():
        parts = _tensor_parts(name, tensor, tp)
        stage, local = _stage(name, starts, sizes)
        for rank, part in enumerate(parts):
            ranks[rank, stage][local] = part.contiguous()
    return ranks


def _stage(name: str, starts: list[int], sizes: list[int]) -> tuple[int, str]:
    if name.startswith("embedding."):
        return 0, name
    if not name.startswith("decoder.layers."):
        return len(sizes) - 1, name
    before, decoder_layers, layer, rest = name.split(".", 3)
    for stage, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if start <= int(layer) < start + size:
            return stage, f"{before}.{decoder_layers}.{int(layer) - start}.{rest}"
    raise AssertionError(name)


def _tensor_parts(name: str, tensor: torch.Tensor, tp: int) -> Iterable[torch.Tensor]:
    if "layer_norm" in name or "layernorm" in name:
        return [tensor] * tp
    if "linear_fc1" in name:
        gate, up = tensor.chunk(2)
        return [torch.cat(pair) for pair in zip(gate.chunk(tp), up.chunk(tp), strict=True)]
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        return tensor.chunk(tp, dim=1)
    if name.endswith(("linear_proj.bias", "linear_fc2.bias")):
        return [tensor] * tp
    return tensor.chunk(tp)


def megatron_config(directory: Path, **more: Any) -> dict[str, Any]:
    """NeMo 1's `model_config.yaml` of the HuggingFace checkpoint."""
    config = json.loads((directory / "config.json").read_text())
    rope = config.get("rope_parameters") or {}
    values = {
        "mcore_gpt": True,
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "encoder_seq_length": config["max_position_embeddings"],
        "max_position_embeddings": "${.encoder_seq_length}",
        "num_layers": config["num_hidden_layers"],
        "hidden_size": config["hidden_size"],
        "ffn_hidden_size": config["intermediate_size"],
        "num_attention_heads": config["num_attention_heads"],
        "num_query_groups": config["num_key_value_heads"],
        "kv_channels": config.get("head_dim"),
        "normalization": "rmsnorm",
        "layernorm_epsilon": config["rms_norm_eps"],
        "activation": "fast-swiglu",
        "position_embedding_type": "rope",
        "rotary_percentage": 1.0,
        "rotary_base": rope.get("rope_theta", 10000.0),
        "share_embeddings_and_output_weights": config["tie_word_embeddings"],
        "override_vocab_size": config["vocab_size"],
        "make_vocab_size_divisible_by": DIVISIBLE,
        "optim": {"_target_": "os.system", "command": "touch trapped"},
    }
    return {**values, **more}


def provider_config(directory: Path, **more: Any) -> dict[str, Any]:
    """What NeMo 2 has under `config`, and Megatron-Bridge under `model`."""
    values = megatron_config(directory)
    for key in ("activation", "encoder_seq_length", "max_position_embeddings", "override_vocab_size"):
        del values[key]
    config = json.loads((directory / "config.json").read_text())
    return {
        **values,
        "_target_": "megatron.bridge.models.llama.llama_provider.LlamaModelProvider",
        "normalization": "RMSNorm",
        "activation_func": {"_call_": False, "_target_": "torch.nn.functional.silu"},
        "gated_linear_unit": True,
        "seq_length": config["max_position_embeddings"],
        "vocab_size": config["vocab_size"],
        "num_moe_experts": None,
        **more,
    }


def saved(state: Mapping[str, Any], prefix: str = "model.") -> bytes:
    buffer = io.BytesIO()
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, buffer)
    return buffer.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """As NeMo packs: names that begin with `./`."""
    with tarfile.open(path, "w:") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def nemo1_members(
    directory: Path,
    tp: int = 1,
    pp: int = 1,
    engine: bool = True,
    extra: Mapping[str, bytes] | None = None,
    **config: Any,
) -> dict[str, bytes]:
    """Name -> content of a `.nemo` of the HuggingFace checkpoint."""
    sizes = {"tensor_model_parallel_size": tp, "pipeline_model_parallel_size": pp}
    values = megatron_config(directory, **{**sizes, **config})
    members = {"model_config.yaml": yaml.safe_dump(values).encode(), **(extra or {})}
    tied_copy = values["share_embeddings_and_output_weights"]
    for (tensor_rank, stage), state in split(megatron_state(directory, engine), tp, pp).items():
        held: dict[str, Any] = {
            **state,
            "decoder.layers.0.self_attention.core_attention._extra_state": io.BytesIO(b"x"),
        }
        if tied_copy and stage == pp - 1 > 0:
            embedding = split(megatron_state(directory), tp, pp)[tensor_rank, 0]["embedding.word_embeddings.weight"]
            held["output_layer.weight"] = embedding
        folder = "" if tp * pp == 1 else f"mp_rank_{tensor_rank:02}/" if pp == 1 else ""
        folder = folder or (f"tp_rank_{tensor_rank:02}_pp_rank_{stage:03}/" if pp > 1 else "")
        members[f"{folder}model_weights.ckpt"] = saved(held)
    return members


def make_nemo1(path: Path, directory: Path, **options: Any) -> Path:
    return write_tar(path, nemo1_members(directory, **options))
