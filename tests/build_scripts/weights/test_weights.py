"""Safetensors from outside: read as the library reads them, and refused by name where they are not sound."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from build_scripts.weights.huggingface import open_weights
from build_scripts.weights.rows import tensor_bytes
from build_scripts.weights.safetensors import header_bytes, read_header
from build_scripts.weights.view import LazyTensor
from triton_repo.contract.errors import BuildError

TENSORS = {
    "a": torch.arange(12.0).reshape(3, 4),
    "b": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
    "c": torch.tensor([1.5], dtype=torch.float16),
    "d": torch.zeros(0, 4),
    "e": torch.tensor(7),
    "f": torch.tensor([True, False]),
}


def read_all(tensors: Mapping[str, LazyTensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.read() for name, tensor in tensors.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_safetensors_file_is_read_as_the_library_reads_it(file: Path) -> None:
    tensors = read_header(file)
    for name, expected in load_file(file).items():
        assert tensors[name].shape == tuple(expected.shape)
        assert tensors[name].nbytes == expected.nbytes
        assert torch.equal(tensors[name].read(), expected)
        assert tensors[name].read().dtype == expected.dtype


def test_rows_are_read_and_belong_to_the_reader(file: Path) -> None:
    tensor = read_header(file)["a"]
    rows = tensor.read_rows(1, 3)
    assert rows.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    rows.zero_()
    assert tensor.read_rows(1, 2).tolist() == [[4, 5, 6, 7]]
    assert tensor.read_rows(2, 2).shape == (0, 4)


def test_a_file_that_shrinks_after_its_header_was_read_is_said_to_be_cut_off(file: Path) -> None:
    tensors = read_header(file)
    os.truncate(file, file.stat().st_size - 60)
    with pytest.raises(BuildError, match=r"model\.safetensors: \w: truncated: \d+ bytes are missing"):
        read_all(tensors)


def test_what_the_header_writer_writes_the_library_reads(tmp_path: Path) -> None:
    weights = {name: tensor for name, tensor in TENSORS.items() if tensor.is_floating_point()}
    described = {name: (str(tensor.dtype).removeprefix("torch."), tensor.shape) for name, tensor in weights.items()}
    header, offsets = header_bytes(described)
    content = bytearray(header)
    for name, tensor in weights.items():
        assert offsets[name] == len(content)
        content += tensor_bytes(tensor).tobytes()
    assert len(header) % 8 == 0
    (tmp_path / "x.safetensors").write_bytes(content)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_file(tmp_path / "x.safetensors").items())


def entry(dtype: Any = "F32", shape: Any = (2, 2), offsets: Any = (0, 16), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def written(header: Any, data: int = 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


HUGE = 1 << 62
BROKEN: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "not a safetensors file: it has 0 bytes"),
    "less than a length": (b"\x01\x02", "not a safetensors file"),
    "a length and nothing else": (struct.pack("<Q", 500), "a header of 500 bytes in a file of 8: truncated"),
    "a header of exabytes": (struct.pack("<Q", HUGE), "a header of 4611686018427387904 bytes; must be ≤ 100000000"),
    "a header of very many tensors": (
        written(
            {str(number): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(2**18 + 1)}, 0
        ),
        "a header of 262145 tensors; must be ≤ 262144",
    ),
    "a header longer than the file": (struct.pack("<Q", 99) + b"{}", "a header of 99 bytes in a file of 10"),
    "a header that is not JSON": (written(b"{'w': 1}"), "header: not valid JSON"),
    "a header that is not UTF-8": (written(b'{"\xff\xfe": 1}'), "header: not valid JSON"),
    "a header nested beyond any stack": (written(b"[" * 100_000), "header: "),
    "a header that is a list": (written([1, 2]), "header: must be a JSON object"),
    "a tensor twice": (
        written(b'{"w":%b,"w":%b}' % (json.dumps(entry()).encode(), json.dumps(entry()).encode())),
        "header: not valid JSON: 'w' occurs twice",
    ),
    "a tensor twice among many": (
        written(b'{%b"k7":0}' % b"".join(b'"k%d":0,' % index for index in range(100_000))),
        "header: not valid JSON: 'k7' occurs twice",
    ),
    "a tensor that is a number": (written({"w": 3}), "w: needs dtype, shape and data_offsets"),
    "a tensor without offsets": (written({"w": {"dtype": "F32", "shape": [4]}}), "w: needs dtype, shape"),
    "a tensor with a key too many": (written({"w": entry(code="x")}), "w: needs dtype, shape and data_offsets, and no"),
    "an unknown dtype": (written({"w": entry("F7")}), "w: dtype 'F7'; allowed: F32, F16, BF16"),
    "a dtype of an odd type": (written({"w": entry("F32\n")}), "w: dtype"),
    "a dtype that is a list": (written({"w": {**entry(), "dtype": []}}), "w: dtype []; allowed: F32"),
    "a negative size": (written({"w": entry(shape=[-2, -2])}), "w: shape"),
    "a size that is true": (written({"w": entry(shape=[True, 4])}), "w: shape"),
    "a size with a fraction": (written({"w": entry(shape=[1.0, 4])}), "w: shape"),
    "a thousand dimensions": (written({"w": entry(shape=[1] * 1000)}), "w: shape"),
    "a size whose product overflows": (written({"w": entry(shape=[HUGE, HUGE, 4])}), "w: 16 bytes of data; F32"),
    "offsets that run backwards": (written({"w": entry(offsets=[16, 0])}), "w: data_offsets"),
    "three offsets": (written({"w": entry(offsets=[0, 8, 16])}), "w: data_offsets"),
    "a dtype that takes more": (written({"w": entry("F64")}), "w: 16 bytes of data; F64 [2, 2] takes 32"),
    "a shape that takes less": (written({"w": entry(shape=[2])}), "w: 16 bytes of data; F32 [2] takes 8"),
    "overlapping tensors": (
        written({"v": entry(), "w": entry(offsets=[8, 24])}, 24),
        "w: its data at 8 overlaps the tensor before it, which ends at 16",
    ),
    "the same data twice": (written({"v": entry(), "w": entry()}), "w: its data at 0 overlaps"),
    "a hole": (written({"v": entry(), "w": entry(offsets=[24, 40])}, 40), "w: its data at 24 leaves a hole before it"),
    "data beyond the file": (
        written({"w": entry()}, 15),
        "w: its data ends at 16; the file has 15 bytes of data: truncated",
    ),
    "data that no tensor names": (written({"w": entry()}, 20), "20 bytes of data; its tensors take 16"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_safetensors_file_is_refused_with_its_name_and_the_tensors(tmp_path: Path, broken: str) -> None:
    content, complaint = BROKEN[broken]
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BuildError) as refused:
        read_header(tmp_path / "model.safetensors")
    assert str(refused.value).startswith(f"{tmp_path / 'model.safetensors'}: {complaint}")


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_header_is_refused_or_still_describes_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "model.safetensors"
    save_file(TENSORS, path)
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    try:
        tensors = read_header(path)
    except BuildError:
        return
    read_all(tensors)


def sharded(directory: Path) -> Path:
    directory.mkdir()
    save_file({"a": TENSORS["a"]}, directory / "one.safetensors")
    save_file({"b": TENSORS["b"]}, directory / "two.safetensors")
    index(directory, {"a": "one.safetensors", "b": "two.safetensors"})
    return directory


def index(directory: Path, weight_map: Any) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    tensors = open_weights(sharded(tmp_path / "checkpoint"), "x")
    assert {name: tensor.read().tolist() for name, tensor in tensors.items()} == {
        name: TENSORS[name].tolist() for name in ("a", "b")
    }


BAD_INDEXES: dict[str, tuple[Any, str]] = {
    "a folder above": (
        {"a": "../one.safetensors"},
        "a: '../one.safetensors' must be the name of a file in the same directory",
    ),
    "an absolute path": ({"a": "/etc/passwd"}, "a: '/etc/passwd' must be the name of a file in the same"),
    "the directory itself": ({"a": "."}, "a: '.' must be the name"),
    "a number": ({"a": 3}, "a: 3 must be the name"),
    "nothing": ({}, "weight_map must name the file of each weight"),
    "a list": (["a"], "weight_map must name the file of each weight"),
    "a shard that is not there": ({"a": "three.safetensors"}, "missing; model.safetensors.index.json names it"),
    "a tensor that is elsewhere": ({"a": "two.safetensors", "b": "two.safetensors"}, "a: is not in it"),
    "a tensor too few": ({"a": "one.safetensors", "c": "one.safetensors"}, "c: is not in it"),
    "a tensor that nobody names": ({"b": "one.safetensors"}, "a: is in it, and model.safetensors.index.json does not"),
}


@pytest.mark.parametrize("bad", BAD_INDEXES)
def test_an_index_that_contradicts_its_files_is_refused(tmp_path: Path, bad: str) -> None:
    directory = sharded(tmp_path / "checkpoint")
    (tmp_path / "one.safetensors").write_bytes((directory / "one.safetensors").read_bytes())
    weight_map, complaint = BAD_INDEXES[bad]
    index(directory, weight_map)
    with pytest.raises(BuildError) as refused:
        open_weights(directory, "x")
    assert complaint in str(refused.value)
    assert str(directory) in str(refused.value)
