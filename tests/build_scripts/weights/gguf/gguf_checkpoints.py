"""Writes HuggingFace checkpoints as GGUF files, with the `gguf` package's own names, writer and quantization."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

Changes = Callable[[gguf.GGUFWriter], None]
Arrays = Mapping[str, np.ndarray[Any, Any]]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|im_end|>{% endfor %}"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ġ t", "h e", "Ġt he", "1 2", "Ġ Ġ", "i n", "e r")
# HuggingFace's architecture -> llama.cpp's, and the parts that its converter permutes.
KINDS: dict[str, tuple[gguf.MODEL_ARCH, bool]] = {
    "LlamaForCausalLM": (gguf.MODEL_ARCH.LLAMA, True),
    "Qwen2ForCausalLM": (gguf.MODEL_ARCH.QWEN2, False),
    "Qwen3ForCausalLM": (gguf.MODEL_ARCH.QWEN3, False),
}


def byte_alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level_tokens() -> list[str]:
    return [*SPECIAL, *byte_alphabet(), *(merge.replace(" ", "") for merge in MERGES)]


def add_byte_level(writer: gguf.GGUFWriter, pre: str = "smollm", tokens: list[str] | None = None) -> None:
    """A byte-level tokenizer of ChatML's special tokens, every byte and a few merges."""
    tokens = tokens or byte_level_tokens()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in SPECIAL else NORMAL for token in tokens])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def arrays_of(checkpoint: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Its `config.json`, and its weights in float32 under llama.cpp's names and in its layout."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    kind, permuted = KINDS[config["architectures"][0]]
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    found = {}
    for name, weight in load_file(checkpoint / "model.safetensors").items():
        stored = weight.float()
        if permuted and "q_proj" in name:
            stored = permute(stored, config["num_attention_heads"])
        if permuted and "k_proj" in name:
            stored = permute(stored, config["num_key_value_heads"])
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert renamed is not None, name
        found[renamed] = stored.numpy()
    return config, found


def permute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """As convert_hf_to_gguf.py does for Llama."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def make_gguf(
    path: Path,
    checkpoint: Path,
    kind: str = "F32",
    tokenizer: Changes = add_byte_level,
    *,
    changes: Changes | None = None,
    max_tensors: int = 0,
) -> Path:
    """The checkpoint as a GGUF file, matrices in `kind`, or as several of `max_tensors`; `changes` come last."""
    config, arrays = arrays_of(checkpoint)
    writer = gguf.GGUFWriter(
        path, gguf.MODEL_ARCH_NAMES[KINDS[config["architectures"][0]][0]], split_max_tensors=max_tensors
    )
    _add_values(writer, config)
    tokenizer(writer)
    if changes is not None:
        changes(writer)
    quantization = gguf.GGMLQuantizationType[kind]
    for name, array in arrays.items():
        used = quantization if array.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(array, used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_values(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
