"""Nemotron's models whose blocks a search has chosen, each of its own size or left out (`block_configs`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from build_scripts.sizing.numbers import Numbers
from build_scripts.sizing.shape import Cache, Layer
from triton_repo.contract.errors import BuildError

_MULTIPLE: Final = 256  # of which the width of a feed-forward block is one


def is_searched(numbers: Numbers) -> bool:
    return bool(numbers.values.get("block_configs"))


def searched_layers(numbers: Numbers) -> Iterator[Layer]:
    hidden, head = numbers.hidden_size, numbers.head_size
    for attention, feedforward in _blocks(numbers):
        layer = Layer()
        if not attention.get("no_op"):
            kv_heads = _kv_heads(numbers, attention)
            linear = 2 * hidden * head * (numbers.num_heads + kv_heads)
            layer += Layer(linear, 0, hidden, linear, Cache(2 * kv_heads * head, kv_heads))
        if not feedforward.get("no_op"):
            layer += Layer(3 * hidden * _width(numbers, feedforward), 0, hidden)
        yield layer


def fewest_kv_heads(numbers: Numbers) -> int:
    found = [_kv_heads(numbers, attention) for attention, _ in _blocks(numbers) if not attention.get("no_op")]
    if not found:
        raise BuildError(f"{numbers.source}: config.json: block_configs: no layer has attention")
    return min(found)


def common_width(numbers: Numbers) -> int:
    """What tensor parallelism must divide to divide every feed-forward block."""
    return math.gcd(*(_width(numbers, block) for _, block in _blocks(numbers) if not block.get("no_op")))


def _kv_heads(numbers: Numbers, attention: Mapping[str, Any]) -> int:
    group = Numbers(numbers.source, attention).count("n_heads_in_group")
    if numbers.num_heads % group:
        rule = f"must divide the {numbers.num_heads} attention heads"
        raise BuildError(f"{numbers.source}: config.json: block_configs: n_heads_in_group = {group}; {rule}")
    return numbers.num_heads // group


def _width(numbers: Numbers, feedforward: Mapping[str, Any]) -> int:
    factor = feedforward.get("ffn_mult")
    if not isinstance(factor, int | float) or not 0 < factor < _MULTIPLE:
        raise BuildError(f"{numbers.source}: config.json: block_configs: ffn_mult = {factor}; must be a number > 0")
    return -(-int(2 * factor * numbers.hidden_size / 3) // _MULTIPLE) * _MULTIPLE


def _blocks(numbers: Numbers) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    given = numbers.values["block_configs"]
    for block in given if isinstance(given, list) else [None]:
        parts = [block.get(name) for name in ("attention", "ffn")] if isinstance(block, dict) else []
        attention, feedforward = parts or (None, None)
        if not _is_counted(attention) or not _is_counted(feedforward):
            raise BuildError(f"{numbers.source}: config.json: block_configs: layers of this kind are not counted")
        yield attention, feedforward


def _is_counted(part: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(part, Mapping) and not part.get("replace_with_linear")
