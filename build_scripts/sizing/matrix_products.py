"""The linear layers of a model that was exported for OpenVINO, and how large adapters of all of them may be."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

_ADAPTER_VALUE_BYTES: Final = 4  # float32


def matrix_products(file: Path) -> dict[str, tuple[int, int]]:
    """Name -> (out, in), of all operations that multiply by a matrix of fixed size."""
    products = {}
    for layer in ET.parse(file).iter("layer"):  # noqa: S314 - written by the export
        if layer.get("type") != "MatMul":
            continue
        ports = layer.findall("input/port")
        sizes = tuple(int(dim.text or -1) for dim in ports[-1].findall("dim"))
        data = layer.find("data")
        if len(sizes) == 2 and min(sizes) > 0 and data is not None:
            out, inner = sizes if data.get("transpose_b") in ("true", "1") else sizes[::-1]
            products[str(layer.get("name"))] = (out, inner)
    return products


def largest_adapter_bytes(file: Path, rank: int) -> int:
    """Of an adapter of every layer, at this rank."""
    return sum(rank * (out + inner) * _ADAPTER_VALUE_BYTES for out, inner in matrix_products(file).values())
