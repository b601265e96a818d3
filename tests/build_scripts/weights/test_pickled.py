"""Pickled weights: their tensors are read where they lie, and whatever else they are is refused and never run."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from build_scripts.weights.huggingface import open_huggingface
from build_scripts.weights.pickled import read_pickled
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.conftest import contents
from tests.build_scripts.weights.test_weights import TENSORS, read_all
from triton_repo.contract.errors import BuildError


def test_pickled_tensors_are_read_where_they_lie(tmp_path: Path) -> None:
    table = {**TENSORS, "t": TENSORS["a"].t(), "v": TENSORS["a"][1:], "p": torch.nn.Parameter(TENSORS["a"].clone())}
    torch.save({**table, "step": 3, "args": {"x": 1}}, tmp_path / "x.bin")
    tensors = read_pickled(tmp_path / "x.bin")
    assert tensors.keys() == table.keys()
    for name, expected in table.items():
        assert torch.equal(tensors[name].read(), expected)
    assert torch.equal(tensors["t"].read_rows(1, 3), TENSORS["a"].t()[1:3])


def test_the_table_in_a_training_checkpoint_is_opened(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": TENSORS["a"]}, "epoch": 3}, tmp_path / "x.ckpt")
    assert read_pickled(tmp_path / "x.ckpt").keys() == {"a"}


def test_a_checkpoint_of_pickled_shards_equals_one_of_safetensors(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "checkpoint", num_hidden_layers=1)
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(weights)
    files = {"pytorch_model-1.bin": names[:4], "pytorch_model-2.bin": names[4:]}
    for file, held in files.items():
        torch.save({name: weights[name] for name in held}, directory / file)
    weight_map = {name: file for file, held in files.items() for name in held}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    view = open_huggingface(directory, "x")
    assert all(torch.equal(view.weights[name].read(), weight) for name, weight in weights.items())


def _archive(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/version", "3\n")
    return path


@pytest.mark.parametrize("module", [b"builtins", b"__builtin__"])
def test_a_pickle_allocates_no_memory_of_a_size_that_it_names(tmp_path: Path, module: bytes) -> None:
    size = (6 * 10**9).to_bytes(8, "little")
    bomb = _archive(tmp_path / "x.bin", b"\x80\x02c%b\nbytearray\n\x8a\x08%b\x85R." % (module, size))
    with pytest.raises(BuildError, match=r"x/data.pkl asks for \w+ bytearray, which no tensor needs$"):
        read_pickled(bomb)


@pytest.mark.parametrize("content", [b"](" + b"K\x01" * 10**7 + b"e.", b"](" + b"N" * 10**7 + b"e."])
def test_a_pickle_of_millions_of_items_is_left_after_a_part_of_them(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BuildError, match=r"x/data.pkl has more than 2000000 steps$"):
        read_pickled(_archive(tmp_path / "x.bin", b"\x80\x02" + content))


class Trap:
    def __reduce__(self) -> Any:
        return (os.system, ("touch trapped",))


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _rezipped(change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_saved({"a": TENSORS["a"]}))) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            change(new, member, old.read(member))
    return buffer.getvalue()


def _compress(new: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    new.writestr(member.filename, data, zipfile.ZIP_DEFLATED)


def _shorten(new: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    new.writestr(member.filename, data[:8] if member.filename.endswith("data/0") else data)


def _garble(new: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    new.writestr(member.filename, b"\x80\x02]q\x00(K\x01.." if member.filename.endswith("data.pkl") else data)


def _drop(new: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    if not member.filename.endswith("data/0"):
        new.writestr(member.filename, data)


BAD_PICKLES: dict[str, bytes] = {
    "a program in an archive": _saved({"a": Trap()}),
    "a program beside tensors": _saved({"a": TENSORS["a"], "b": {"c": [Trap()]}}),
    "a bare program": b"cos\nsystem\n(S'touch trapped'\ntR.",
    "nothing": b"",
    "half a file": _saved({"a": TENSORS["a"]})[:700],
    "a file without its end": _saved({"a": TENSORS["a"]})[:-10],
    "a list": _saved([TENSORS["a"]]),
    "a compressed archive": _rezipped(_compress),
    "a record that is too short": _rezipped(_shorten),
    "a record that is not there": _rezipped(_drop),
    "a pickle of noise": _rezipped(_garble),
}


@pytest.mark.parametrize("bad", BAD_PICKLES)
def test_a_pickle_that_is_more_or_less_than_tensors_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(BAD_PICKLES[bad])
    before = contents(tmp_path)
    with pytest.raises(BuildError) as refused:
        read_all(read_pickled(path))
    assert str(refused.value).startswith(str(path))
    assert contents(tmp_path) == before


def test_a_tensor_of_an_odd_dtype_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"s": torch.tensor([1 + 2j])}, tmp_path / "x.bin")
    with pytest.raises(BuildError, match=r"x\.bin: s: unsupported tensor: dtype complex64"):
        read_pickled(tmp_path / "x.bin")
