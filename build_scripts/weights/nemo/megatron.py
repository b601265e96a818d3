"""Megatron-core's layout of a Llama-like decoder, undone: names and tensors as HuggingFace has them.

`linear_qkv` holds, for each query group, the heads of its queries, then its key, then its value. `linear_fc1` holds
gate over up. The vocabulary is padded. Rotary q and k are half-split on both sides, so nothing is permuted
(NeMo: collections/llm/gpt/model/llama.py; Megatron-Bridge: models/llama/llama_bridge.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from build_scripts.weights.patchwork import Patch, patchwork
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

EMBEDDING: Final = "embedding.word_embeddings.weight"
OUTPUT: Final = "output_layer.weight"
FINAL_NORM: Final = "decoder.final_layernorm.weight"
QKV: Final = "self_attention.linear_qkv"
GATE_UP: Final = "mlp.linear_fc1"
# In a layer: Megatron's name (with and without Transformer Engine) -> HuggingFace's.
_COPIED: Final[Mapping[str, str]] = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "input_layernorm.weight": "input_layernorm.weight",
    "self_attention.q_layernorm.weight": "self_attn.q_norm.weight",
    "self_attention.k_layernorm.weight": "self_attn.k_norm.weight",
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "self_attention.linear_proj.bias": "self_attn.o_proj.bias",
    "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm.weight",
    "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
    "mlp.linear_fc2.bias": "mlp.down_proj.bias",
}
_LAYER: Final = re.compile(r"decoder\.layers\.(\d{1,6})\.(.+)")
_PREFIX: Final = re.compile(r"((model|module)\.)+")
# Of Transformer Engine's fp8 recipe, of tables that can be computed, and of training.
_IGNORED: Final = re.compile(
    r".*(_extra_state(/.*)?|rotary_pos_emb\.inv_freq)|(optimizer|rng_state|rerun_state|opt_param_scheduler|args)\b.*"
)
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Heads:
    """How `linear_qkv` is laid out: `groups` times (`queries` heads, a key, a value), each of `size` rows."""

    groups: int
    queries: int
    size: int

    @property
    def rows(self) -> int:
        return self.groups * (self.queries + 2) * self.size

    def places(self, which: str) -> Iterator[range]:
        """The rows that are of `q`, `k` or `v`, group by group."""
        first = {"q": 0, "k": self.queries, "v": self.queries + 1}[which]
        count = self.queries if which == "q" else 1
        for group in range(self.groups):
            start = (group * (self.queries + 2) + first) * self.size
            yield range(start, start + count * self.size)


def canonical(name: str) -> str | None:
    """The name as Megatron-core's model itself has it, without what wraps it; None for what is no weight."""
    bare = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    return None if _IGNORED.fullmatch(bare) else bare


def layer_of(name: str) -> tuple[int, str] | None:
    """(3, "mlp.linear_fc2.weight") of a canonical name that is of a layer, else None."""
    match = _LAYER.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def to_huggingface(
    tensors: Mapping[str, LazyTensor], heads: Heads, vocab_size: int, tied: bool, source: str
) -> dict[str, LazyTensor]:
    """HuggingFace's name -> tensor, of canonical names whose layers are counted over the whole model.

    Raises:
        BuildError: a tensor has no counterpart in a Llama-like model, or is not of the shape that its layout asks.
    """
    found = dict(_translated(tensors, heads, vocab_size, tied))
    strange = sorted(name for name in tensors if name not in _known(tensors))
    if strange:
        more = f" and {len(strange) - _SHOWN} others" if len(strange) > _SHOWN else ""
        raise BuildError(f"{source}: no place in a Llama-like model for {', '.join(strange[:_SHOWN])}{more}")
    return found


def _known(tensors: Mapping[str, LazyTensor]) -> set[str]:
    whole = {EMBEDDING, OUTPUT, FINAL_NORM}
    split = {f"{part}.{kind}" for part in (QKV, GATE_UP) for kind in ("weight", "bias")}
    places = ((name, layer_of(name)) for name in tensors)
    return whole | {name for name, place in places if place and place[1] in _COPIED.keys() | split}


def _translated(
    tensors: Mapping[str, LazyTensor], heads: Heads, vocab_size: int, tied: bool
) -> Iterator[tuple[str, LazyTensor]]:
    """In the order of the forward pass."""
    if EMBEDDING in tensors:
        yield from _trimmed(tensors[EMBEDDING], "model.embed_tokens.weight", vocab_size)
    in_layers = [(place, tensor) for name, tensor in tensors.items() if (place := layer_of(name))]
    for (layer, part), tensor in sorted(in_layers, key=lambda entry: entry[0]):
        for name, translated in _of_layer(part, tensor, heads):
            whole = f"model.layers.{layer}.{name}"
            yield whole, _renamed(translated, whole)
    if FINAL_NORM in tensors:
        yield "model.norm.weight", _renamed(tensors[FINAL_NORM], "model.norm.weight")
    if OUTPUT in tensors and not tied:  # the last pipeline stage of a tied model has a copy of the embedding
        yield from _trimmed(tensors[OUTPUT], "lm_head.weight", vocab_size)


def _trimmed(tensor: LazyTensor, name: str, vocab_size: int) -> Iterator[tuple[str, LazyTensor]]:
    if len(tensor.shape) != 2 or tensor.shape[0] < vocab_size:
        raise BuildError(f"{tensor.origin}: {tensor.name}: shape {list(tensor.shape)}; must have ≥ {vocab_size} rows")
    yield name, patchwork(name, (vocab_size, tensor.shape[1]), [Patch(tensor, range(vocab_size), 0)])


def _of_layer(part: str, tensor: LazyTensor, heads: Heads) -> Iterator[tuple[str, LazyTensor]]:
    module, _, kind = part.rpartition(".")
    if part in _COPIED:
        yield _COPIED[part], tensor
    elif module == QKV and kind in {"weight", "bias"}:
        _check_rows(tensor, heads.rows, f"{heads.groups} query groups of {heads.queries} + 2 heads of {heads.size}")
        for which in ("q", "k", "v"):
            yield f"self_attn.{which}_proj.{kind}", _gathered(tensor, list(heads.places(which)))
    elif module == GATE_UP and kind in {"weight", "bias"}:
        half = tensor.shape[0] // 2 if tensor.shape else 0
        _check_rows(tensor, 2 * half, "gate over up, of the same size")
        yield f"mlp.gate_proj.{kind}", _gathered(tensor, [range(half)])
        yield f"mlp.up_proj.{kind}", _gathered(tensor, [range(half, 2 * half)])


def _check_rows(tensor: LazyTensor, rows: int, rule: str) -> None:
    if not tensor.shape or tensor.shape[0] != rows or not rows:
        raise BuildError(f"{tensor.origin}: {tensor.name}: shape {list(tensor.shape)}; must have {rows} rows: {rule}")


def _gathered(tensor: LazyTensor, places: list[range]) -> LazyTensor:
    patches, row = [], 0
    for rows in places:
        patches.append(Patch(tensor, rows, row))
        row += len(rows)
    return patchwork(tensor.name, (row, *tensor.shape[1:]), patches)


def _renamed(tensor: LazyTensor, name: str) -> LazyTensor:
    return LazyTensor(name, tensor.dtype, tensor.shape, tensor.origin, tensor.reader)
