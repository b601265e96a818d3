"""The tensors of a file as the translation takes them: what belongs to no model of text is gone, scales are applied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from build_scripts.weights.gguf.families.family import Family
from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.reading import numbers
from build_scripts.weights.gguf.rope import TABLES
from triton_repo.contract.errors import BuildError

_QUERIES_KEYS_VALUES: Final = re.compile(r"blk\.\d{1,5}\.(attn_qkv)\.(weight|bias)", re.ASCII)
_NUMBER: Final = re.compile(r"blk\.(\d{1,5})\.", re.ASCII)
_IGNORED: Final = re.compile(
    r"blk\.\d+\.attn_rot_embd\.\w+|rope\.freqs|blk\.\d+\.rope_freqs\.weight"
    r"|.*\.input_scale"  # of the inputs of a layer, for kernels that quantize those too
    r"|(v|a|mm|mtp)\..*"  # encoders of images and sound, and what predicts further tokens, in the file of the model
)
_SCALE: Final = ".scale"
_MOST_SCALES: Final = 4096


def prepared(model: Model, family: Family) -> Model:
    """With no tensor that the text model has not, scales within the weights, and queries, keys and values apart.

    Raises:
        BuildError: a scale belongs to no weight, or a fused tensor has too few rows.
    """
    kept = {name: tensor for name, tensor in model.tensors.items() if not _is_left_out(name, model)}
    tensors = dict(_scaled(kept, family))
    if "attn_qkv" not in family.layer:
        tensors = {name: tensor for each in tensors.values() for name, tensor in _separated(each, model)}
    tables = {name: tensor for name, tensor in model.tensors.items() if name in TABLES}
    return replace(model, tensors={**tensors, **tables})


def _is_left_out(name: str, model: Model) -> bool:
    """Tables of rope scaling, and layers that only predict further tokens."""
    layer = _NUMBER.match(name)
    extra = layer is not None and model.layers <= int(layer[1]) < model.count("block_count")
    return extra or name in TABLES or _IGNORED.fullmatch(name) is not None


def _scaled(tensors: dict[str, StoredTensor], family: Family) -> Iterator[tuple[str, StoredTensor]]:
    found = dict(tensors)
    for name, tensor in tensors.items():
        if not name.endswith(_SCALE) or ".".join(name.split(".")[2:]) in family.layer:
            continue
        weight = f"{name.removesuffix(_SCALE)}.weight".replace(".weight.weight", ".weight")
        if weight not in found:
            raise BuildError(f"{tensor.path}: {name}: there is no {weight}")
        if found[weight] is not tensors.get(weight):
            raise BuildError(f"{tensor.path}: {name}: {weight} has another scale")
        values = tuple(numbers(tensor, _MOST_SCALES))
        one = {"scale": values[0]} if len(values) == 1 else {"scales": values}
        found[weight] = replace(found[weight], **one)
        del found[name]
    yield from found.items()


def _separated(tensor: StoredTensor, model: Model) -> Iterator[tuple[str, StoredTensor]]:
    """Queries, keys and values in one tensor as the three that HuggingFace has."""
    if (fused := _QUERIES_KEYS_VALUES.fullmatch(tensor.name)) is None:
        yield tensor.name, tensor
        return
    keys = model.kv_heads * model.head_size
    sizes = {"attn_q": tensor.shape[0] - 2 * keys, "attn_k": keys, "attn_v": keys}
    if min(sizes.values()) < 1:
        raise BuildError(f"{tensor.path}: {tensor.name}: {tensor.shape[0]} rows; must be more than {2 * keys}")
    row_bytes = tensor.nbytes // tensor.shape[0]
    offset = tensor.offset
    for part, rows in sizes.items():
        name = tensor.name.replace(fused[1], part)
        yield name, replace(tensor, name=name, shape=(rows, *tensor.shape[1:]), offset=offset)
        offset += rows * row_bytes
