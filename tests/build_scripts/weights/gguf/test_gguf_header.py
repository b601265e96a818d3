"""Broken and hostile GGUF headers: one sentence with file and key, soon, in little memory."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_scripts.weights.gguf.header import read_header
from build_scripts.weights.gguf.quantized import known_types
from tests.build_scripts.weights.gguf.raw_gguf import BOOL, STRING, UINT32, Raw, Tensor, array, string, text, uint32
from triton_repo.contract.errors import BuildError

GOOD = Raw()
HUGE = 1 << 63
MAX_BYTES = 4_000_000  # of memory for a header of a few hundred bytes, whatever it says


def nested(depth: int) -> bytes:
    inner = struct.pack("<IQ", 9, 1) * depth
    return struct.pack("<I", 9) + inner + struct.pack("<IQ", UINT32, 0)


HOSTILE: dict[str, tuple[Raw, str]] = {
    "another file": (GOOD.with_(magic=b"PK\3\4"), "not a GGUF file"),
    "version 1": (GOOD.with_(version=1), "GGUF version 1; allowed: 2 and 3"),
    "big-endian": (GOOD.with_(version=3 << 24), "GGUF version 3, big-endian; allowed"),
    "more tensors than fit": (GOOD.with_(num_tensors=HUGE), "number of tensors: 9223372036854775808"),
    "all tensors there are": (GOOD.with_(num_tensors=(1 << 64) - 1), "number of tensors: 18446744073709551615"),
    "more values than fit": (GOOD.with_(num_values=HUGE), "number of values: 9223372036854775808"),
    "a value that is not there": (GOOD.with_(num_values=200, tensors=(), data=b""), "cannot hold"),
    "a tensor that is not there": (GOOD.with_(num_tensors=2, tensors=[Tensor("long" * 20)], data=b""), "truncated"),
    "a key longer than the file": (
        GOOD.with_(values=[], num_values=1, tensors=(), data=b"\xff" * 20, alignment=1),
        "a key: 1844674",
    ),
    "a text longer than the file": (GOOD.with_(values=[("a", string("x", HUGE))]), "a: 9223372036854775808 bytes"),
    "a text that is not UTF-8": (GOOD.with_(values=[("a", string(b"\xff\xfe"))]), "a: not UTF-8"),
    "a key twice": (GOOD.with_(values=[("a", uint32(1)), ("a", uint32(2))]), "'a' occurs twice"),
    "an unknown type of value": (GOOD.with_(values=[("a", struct.pack("<I", 13))]), "'a': a value of type 13"),
    "an array beyond the file": (GOOD.with_(values=[("a", array(UINT32, HUGE, b""))]), "a: 9223372036854775808"),
    "an array of nothing known": (GOOD.with_(values=[("a", array(99, 1, b"x"))]), "'a': a value of type 99"),
    "an array of many empty texts": (GOOD.with_(values=[("a", array(STRING, 1 << 40, b""))]), "cannot hold"),
    "an array of arrays": (GOOD.with_(values=[("a", nested(1))]), "'a': an array of arrays"),
    "arrays nested deeply": (GOOD.with_(values=[("a", nested(100_000))]), "'a': an array of arrays"),
    "no dimensions": (GOOD.with_(tensors=[Tensor(dims=())]), "'a.weight': 0 dimensions"),
    "many dimensions": (GOOD.with_(tensors=[Tensor(num_dims=1 << 31)]), "dimensions; must be 1 … 4"),
    "an empty dimension": (GOOD.with_(tensors=[Tensor(dims=(8, 0))]), "shape [0, 8]"),
    "a product beyond 63 bits": (GOOD.with_(tensors=[Tensor(dims=(1 << 20, 1 << 20, 1 << 24))]), "product is < 2**63"),
    "a product that wraps to 0": (GOOD.with_(tensors=[Tensor(dims=(1 << 32, 1 << 32))]), "product is < 2**63"),
    "a row of half a block": (GOOD.with_(tensors=[Tensor(dims=(48, 2), type=2)]), "Q4_0 needs a multiple of 32"),
    "a row beyond any model's": (GOOD.with_(tensors=[Tensor(dims=(1 << 30, 2))]), "rows of 1073741824 values"),
    "an unknown type of tensor": (GOOD.with_(tensors=[Tensor(type=137)]), "'a.weight': type 137; known: F32"),
    "a type without values": (GOOD.with_(tensors=[Tensor(type=1 << 31)]), "'a.weight': type 2147483648"),
    "a tensor twice": (GOOD.with_(tensors=[Tensor(), Tensor(offset=32)], data=bytes(64)), "'a.weight': occurs twice"),
    "data beyond the file": (GOOD.with_(tensors=[Tensor(dims=(9,))]), "the file has"),
    "an offset beyond the file": (GOOD.with_(tensors=[Tensor(offset=1 << 40)]), "truncated"),
    "the largest offset": (GOOD.with_(tensors=[Tensor(offset=(1 << 64) - 32)]), "truncated"),
    "an unaligned offset": (GOOD.with_(tensors=[Tensor(dims=(4,), offset=16)]), "must be a multiple of 32"),
    "two tensors in one place": (GOOD.with_(tensors=[Tensor(), Tensor("b.weight")]), "overlaps the tensor before it"),
    "a tensor into the next": (
        GOOD.with_(tensors=[Tensor(dims=(16,)), Tensor("b.weight", offset=32)], data=bytes(96)),
        "'b.weight': its data overlaps",
    ),
    "an odd alignment": (GOOD.with_(values=[("general.alignment", uint32(24))]), "general.alignment = 24"),
    "no alignment": (GOOD.with_(values=[("general.alignment", uint32(0))]), "general.alignment = 0"),
    "an alignment of text": (GOOD.with_(values=[("general.alignment", string("8"))]), "general.alignment = '8'"),
}


def read(directory: Path, content: bytes) -> None:
    path = directory / "x.gguf"
    path.write_bytes(content)
    read_header(path)


def test_a_good_header_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(GOOD.with_(values=[("a", array(BOOL, 2, b"\0\1"))]).to_bytes())
    header = read_header(tmp_path / "x.gguf")
    assert header.values == {"a": [False, True]}
    assert [(tensor.shape, tensor.nbytes) for tensor in header.tensors.values()] == [((8,), 32)]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_rejected_by_name_in_little_memory(tmp_path: Path, case: str) -> None:
    raw, complaint = HOSTILE[case]
    known_types()  # its import takes memory of its own
    tracemalloc.start()
    try:
        with pytest.raises(BuildError) as rejected:
            read(tmp_path, raw.to_bytes())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert complaint in str(rejected.value)
    assert str(tmp_path / "x.gguf") in str(rejected.value)
    assert len(str(rejected.value)) < 700
    assert peak < MAX_BYTES


def test_a_file_that_ends_anywhere_is_rejected(tmp_path: Path) -> None:
    content = GOOD.with_(
        values=[("a", uint32(1)), ("b", string("text")), ("c", array(STRING, 1, text("x")))]
    ).to_bytes()
    for length in range(len(content)):
        with pytest.raises(BuildError):
            read(tmp_path, content[:length])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_header_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(
        GOOD.with_(values=[("a", uint32(1)), ("b", array(STRING, 2, text("x") + text("y")))]).to_bytes()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BuildError):
        read(tmp_path_factory.mktemp("changed"), bytes(content))


def test_every_type_that_the_package_dequantizes_is_known_and_no_other() -> None:
    def dequantizes(kind: gguf.GGMLQuantizationType) -> bool:
        try:
            gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError:
            return False
        return True

    expected = {kind.name for kind in gguf.GGML_QUANT_SIZES if dequantizes(kind)}
    assert {each.name for each in known_types().values()} == expected
