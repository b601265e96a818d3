"""llama.cpp's tensors as HuggingFace's: renamed, their layout undone, none read yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from build_scripts.weights.gguf.families.family import Family, Joined
from build_scripts.weights.gguf.families.layouts import matrices
from build_scripts.weights.gguf.header import StoredTensor
from build_scripts.weights.gguf.model import Model
from build_scripts.weights.gguf.reading import constant, lazy
from build_scripts.weights.gguf.rope import TABLES
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

_LAYER: Final = re.compile(r"blk\.(0|[1-9]\d{0,4})\.(\w+)\.(weight|bias|scale)", re.ASCII)
_TOP: Final = re.compile(r"(\w+)\.(weight|bias)", re.ASCII)
_SHOWN = 3


def to_huggingface(model: Model, family: Family) -> dict[str, LazyTensor]:
    """HuggingFace's name -> tensor, in the order in which they lie in the files.

    Raises:
        BuildError: a tensor has no counterpart in `family`, or a part of a layer is missing.
    """
    stored = {name: tensor for name, tensor in model.tensors.items() if name not in TABLES}
    found: dict[str, LazyTensor] = {}
    strange: list[str] = []
    for name, tensor in stored.items():
        translated = _translated(name, tensor, model, family)
        found |= {each.name: each for each in translated}
        strange += [] if translated or _is_joined(name, family) else [name]
    where = model.meta.where
    if strange:
        more = f" and {len(strange) - _SHOWN} others" if len(strange) > _SHOWN else ""
        raise BuildError(f"{where}: no place in {family.architecture} for {', '.join(strange[:_SHOWN])}{more}")
    if missing := next(_missing(stored, model, family), None):
        raise BuildError(f"{where}: {missing} is missing; every layer of its kind has it")
    return {**found, **_made(found, stored, model, family)}


def _made(
    found: Mapping[str, LazyTensor], stored: Mapping[str, StoredTensor], model: Model, family: Family
) -> dict[str, LazyTensor]:
    """Tensors of several of llama.cpp's, or of values of the header."""
    made: dict[str, LazyTensor] = {}
    values = {key: model.meta.required_numbers(key, model.layers) for key, _ in family.values.values()}
    for layer in range(model.layers):
        for pattern, ways in family.joined.items():
            name = f"{family.layers}.{layer}.{pattern}"
            for joined in ways if name not in found else ():
                if name not in made and (parts := _parts(joined, layer, stored, model.meta.where)):
                    made[name] = joined.join(name, parts, model)
        for pattern, (key, shape) in family.values.items():
            name = f"{family.layers}.{layer}.{pattern}"
            made[name] = constant(name, values[key][layer], shape, model.meta.where)
    return made


def _translated(name: str, tensor: StoredTensor, model: Model, family: Family) -> list[LazyTensor]:
    """Nothing for a tensor that has no place."""
    if layer := _LAYER.fullmatch(name):
        number, part, kind = int(layer[1]), layer[2], layer[3]
        own = _named(part, kind, family.layer)
        if own is None or number >= model.layers:
            return []
        pattern = f"{family.layers}.{number}.{own}"
        if "{}" in pattern:
            experts = matrices(tensor, pattern, model.experts)
            return [replace(one, name=pattern.format(expert)) for expert, one in enumerate(experts)]
        return [_laid_out(part, lazy(tensor, pattern), model, family)]
    top = _TOP.fullmatch(name)
    if top is None or (own := _named(top[1], top[2], family.top)) is None:
        return []
    return [_laid_out(top[1], lazy(tensor, own), model, family)]


def _named(part: str, kind: str, names: Mapping[str, str]) -> str | None:
    if whole := names.get(f"{part}.{kind}"):
        return whole
    return f"{names[part]}.{kind}" if part in names else None


def _laid_out(part: str, tensor: LazyTensor, model: Model, family: Family) -> LazyTensor:
    layout = family.layouts.get(part)
    return tensor if layout is None else layout(tensor, model)


def _is_joined(name: str, family: Family) -> bool:
    return any(name.endswith(f".{part}") for part in _joined_parts(family))


def _joined_parts(family: Family) -> Iterator[str]:
    return (part for ways in family.joined.values() for joined in ways for part in joined.parts)


def _parts(joined: Joined, layer: int, stored: Mapping[str, StoredTensor], where: str) -> list[StoredTensor]:
    """Nothing where the layer has none of them, as one without experts. Raises: BuildError: it has some."""
    names = [f"blk.{layer}.{part}" for part in joined.parts]
    found = [stored[name] for name in names if name in stored]
    if found and len(found) < len(names):
        missing = next(name for name in names if name not in stored)
        raise BuildError(f"{where}: {missing} is missing; {found[0].name} needs it")
    return found


def _missing(stored: Mapping[str, StoredTensor], model: Model, family: Family) -> Iterator[str]:
    """Weights that the first layer of a kind has and another lacks; all, if it lacks them."""
    names = [name if "." in name else f"{name}.{kind}" for name in family.layer for kind in ("weight", "bias")]
    names += _joined_parts(family)
    needed: dict[object, list[str]] = {}
    for layer in range(model.layers):
        kind = family.kind(model, layer)
        if kind not in needed:
            needed[kind] = [name for name in dict.fromkeys(names) if f"blk.{layer}.{name}" in stored]
            if not needed[kind]:
                yield f"blk.{layer}.{names[0]}"
        yield from (name for part in needed[kind] if (name := f"blk.{layer}.{part}") not in stored)
