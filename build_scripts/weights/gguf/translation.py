"""llama.cpp's tensors as HuggingFace's: renamed, their layout undone, none read yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from build_scripts.weights.gguf.families import Family
from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.reading import half_split, lazy, less_one, one_row, transposed
from build_scripts.weights.gguf.rope import TABLES
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

_LAYER: Final = re.compile(r"blk\.(0|[1-9]\d{0,4})\.(\w+)\.(weight|bias)")
_TOP: Final = re.compile(r"(\w+)\.(weight|bias)")
_IGNORED: Final = re.compile(r"blk\.\d+\.attn_rot_embd\.\w+|rope\.freqs|blk\.\d+\.rope_freqs\.weight")
_SHOWN = 3


def to_huggingface(model: Model, family: Family) -> dict[str, LazyTensor]:
    """HuggingFace's name -> tensor, in the order in which they lie in the files.

    Raises:
        BuildError: a tensor has no counterpart in `family`, or a part of a layer is missing.
    """
    found: dict[str, LazyTensor] = {}
    strange: list[str] = []
    for name, tensor in model.tensors.items():
        if name in TABLES or _IGNORED.fullmatch(name):
            continue
        translated = _translated(name, tensor, model, family)
        found |= {each.name: each for each in translated}
        strange += [] if translated else [name]
    where = model.meta.where
    if strange:
        more = f" and {len(strange) - _SHOWN} others" if len(strange) > _SHOWN else ""
        raise BuildError(f"{where}: no place in {family.architecture} for {', '.join(strange[:_SHOWN])}{more}")
    if missing := next(_missing(model, family), None):
        raise BuildError(f"{where}: {missing} is missing; every layer of {model.meta.architecture} has it")
    return found


def _translated(name: str, tensor: StoredTensor, model: Model, family: Family) -> list[LazyTensor]:
    """Nothing for a tensor that has no place."""
    if layer := _LAYER.fullmatch(name):
        number, part, kind = int(layer[1]), layer[2], layer[3]
        if part not in family.layer or number >= model.layers:
            return []
        pattern = f"{family.layers}.{number}.{family.layer[part]}.{kind}"
        if "{}" in pattern:
            return [lazy(one, pattern.format(expert)) for expert, one in enumerate(_experts(tensor, model))]
        return [_laid_out(part, lazy(tensor, pattern), model, family)]
    top = _TOP.fullmatch(name)
    if top is None or top[1] not in family.top:
        return []
    return [_laid_out(top[1], lazy(tensor, f"{family.top[top[1]]}.{top[2]}"), model, family)]


def _experts(tensor: StoredTensor, model: Model) -> list[StoredTensor]:
    if len(tensor.shape) != 3 or tensor.shape[0] != model.experts:
        rule = f"must have three dimensions, the first of {model.experts} experts"
        raise BuildError(f"{tensor.path}: {tensor.name}: shape {list(tensor.shape)}; {rule}")
    size = tensor.nbytes // model.experts
    return [
        replace(tensor, shape=tensor.shape[1:], offset=tensor.offset + expert * size) for expert in range(model.experts)
    ]


def _laid_out(part: str, tensor: LazyTensor, model: Model, family: Family) -> LazyTensor:
    if part in family.half_split:
        return half_split(tensor, model.heads if part == "attn_q" else model.kv_heads)
    if family.norms_less_one and part.endswith("norm") and tensor.name.endswith(".weight"):
        return less_one(tensor)
    if part in family.transposed and len(tensor.shape) == 2:
        return transposed(tensor)
    if part == "ffn_gate_inp_shexp" and len(tensor.shape) == 1:
        return one_row(tensor)
    return tensor


def _missing(model: Model, family: Family) -> Iterator[str]:
    """Weights that the first layer has and another lacks; all of a layer where the first lacks them."""
    parts = [f"{part}.{kind}" for part in family.layer for kind in ("weight", "bias")]
    needed = [part for part in parts if model.has(part)]
    if not needed:
        yield f"blk.0.{parts[0]}"
    for layer in range(1, model.layers):
        yield from (f"blk.{layer}.{part}" for part in needed if f"blk.{layer}.{part}" not in model.tensors)
