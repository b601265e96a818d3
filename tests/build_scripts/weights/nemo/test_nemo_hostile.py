"""Broken and hostile NeMo checkpoints: one sentence with file and member, soon; nothing run, nothing written."""

from __future__ import annotations

import io
import itertools
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from build_scripts.source.convert import convert
from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.conftest import contents
from tests.build_scripts.weights.nemo.nemo_checkpoints import nemo1_members, saved, write_tar
from tests.build_scripts.weights.nemo.test_nemo import SMALL
from triton_repo.contract.errors import BuildError

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
MAX_CALLS, MAX_CALLS_PER_BYTE = 100_000, 3


class Trap:
    def __reduce__(self) -> Any:
        return (os.system, ("touch trapped",))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama") / "checkpoint", **SMALL)


@contextmanager
def calls_at_most(limit: int) -> Iterator[None]:
    """Fails once Python has called more functions than that: how much work a file may make is no matter of seconds."""
    calls = itertools.count(1)

    def count(frame: object, event: str, argument: object) -> None:
        if event == "call" and next(calls) > limit:
            sys.setprofile(None)
            raise AssertionError(f"more than {limit} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def refusal(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `conch build --to hf` says of the checkpoint; it leaves no trace."""
    monkeypatch.chdir(path.parent)
    before = contents(path.parent)
    num_bytes = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    with pytest.raises(BuildError) as refused, calls_at_most(MAX_CALLS + MAX_CALLS_PER_BYTE * num_bytes):
        convert("hf", str(path), path.parent / "hf")
    assert contents(path.parent) == before
    return str(refused.value)


Members = dict[str, bytes]


def _with_config(**values: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[CONFIG] = yaml.safe_dump({**yaml.safe_load(members[CONFIG]), **values}).encode()

    return change


def _with(name: str, content: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: content})


def _without(name: str) -> Callable[[Members], None]:
    return lambda members: members.__delitem__(name)


def _with_state(change: Callable[[dict[str, Any]], Any]) -> Callable[[Members], None]:
    def changed(members: Members) -> None:
        state = torch.load(io.BytesIO(members[WEIGHTS]), weights_only=False)
        change(state)
        members[WEIGHTS] = saved(state, prefix="")

    return changed


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%b]\n" % (new, new, b",".join([b"*%c" % old] * 9))
    for old, new in zip(b"abcdefgh", b"bcdefghi", strict=True)
)
FC1, QKV = "model.decoder.layers.1.mlp.linear_fc1.weight", "model.decoder.layers.2.self_attention.linear_qkv.weight"
BAD_MEMBERS: dict[str, tuple[Callable[[Members], None], str]] = {
    "no configuration": (_without(CONFIG), "neither model_config.yaml"),
    "no weights": (_without(WEIGHTS), "no weights"),
    "a configuration that is no YAML": (_with(CONFIG, b"a: [1,"), "(model_config.yaml): not valid YAML"),
    "a configuration that is a list": (_with(CONFIG, b"- 1"), "(model_config.yaml): must be a table"),
    "a configuration that builds objects": (
        _with(CONFIG, b"a: !!python/object/apply:os.system ['touch trapped']"),
        "(model_config.yaml): not valid YAML",
    ),
    "a YAML bomb": (_with(CONFIG, BOMB), "stands for more than"),
    "a YAML merge": (_with(CONFIG, b"a: &a {x: 1}\nb:\n  <<: *a"), "merge keys"),
    "YAML that holds itself": (_with(CONFIG, b"a: &a [*a]"), "not valid YAML"),
    "YAML nested beyond any stack": (_with(CONFIG, b"a: " + b"[" * 100_000), "not valid YAML"),
    "a huge configuration": (_with(CONFIG, b"#" * (2 << 20)), "2097152 bytes; must be ≤ 1048576"),
    "a key twice": (_with(CONFIG, b"num_layers: 1\nnum_layers: 2"), "'num_layers' occurs twice"),
    "a configuration that is not text": (_with(CONFIG, b"a: \x80\xff"), "not valid YAML"),
    "layers of text": (_with_config(num_layers="three"), "num_layers = 'three'; must be a whole number ≥ 1"),
    "a number beyond all floats": (_with_config(layernorm_epsilon=10**400), "; must be a number > 0"),
    "groups that do not divide": (_with_config(num_query_groups=3), "num_query_groups = 3; must divide"),
    "another activation": (_with_config(activation="squared-relu"), "activation = 'squared-relu'; allowed: swiglu"),
    "another norm": (_with_config(normalization="layernorm1p"), "normalization = 'layernorm1p'; allowed: rmsnorm"),
    "experts": (_with_config(num_moe_experts=8), "num_moe_experts = 8; allowed: nothing"),
    "other positions": (_with_config(position_embedding_type="learned_absolute"), "position_embedding_type"),
    "half rotation": (_with_config(rotary_percentage=0.5), "rotary_percentage = 0.5; allowed: 1"),
    "a tokenizer that is not there": (_with_config(tokenizer={"model": "nemo:x.model"}), "there is no such member"),
    "more ranks than files": (
        _with_config(tensor_model_parallel_size=2),
        "no model_weights.ckpt of tensor rank 1 of 2",
    ),
    "a pickle that runs code": (_with(WEIGHTS, saved({"a": Trap()})), f"({WEIGHTS}): its pickle contains more"),
    "a bare pickle that runs code": (_with(WEIGHTS, b"cos\nsystem\n(S'touch trapped'\ntR."), f"({WEIGHTS}): not a"),
    "weights that are truncated": (
        lambda members: members.update({WEIGHTS: members[WEIGHTS][:-200]}),
        f"({WEIGHTS}): not a readable torch.save file",
    ),
    "a tensor too few": (_with_state(lambda state: state.pop(FC1)), "model.layers.1.mlp.gate_proj.weight"),
    "a tensor too many": (_with_state(lambda state: state.update({"model.x": torch.ones(2)})), "no place in a Llama-"),
    "a tensor of another shape": (
        _with_state(lambda state: state.update({QKV: torch.ones(5, 16)})),
        "linear_qkv.weight: shape [5, 16]; must have 24 rows",
    ),
    "a tensor of numbers that are not whole": (
        _with_state(lambda state: state.update({FC1: state[FC1].to(torch.int32)})),
        "dtype int32; allowed",
    ),
    "layers that are not counted from 0": (
        _with_state(lambda state: state.update({FC1.replace(".1.", ".9."): state.pop(FC1)})),
        "are not counted from 0",
    ),
}


@pytest.mark.parametrize("bad", BAD_MEMBERS)
def test_a_broken_archive_is_refused_by_name(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    change, complaint = BAD_MEMBERS[bad]
    members = nemo1_members(llama)
    change(members)
    said = refusal(write_tar(tmp_path / "x.nemo", members), monkeypatch)
    assert complaint in said
    assert "x.nemo" in said


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


ODD_MEMBERS: dict[str, tuple[tarfile.TarInfo, str]] = {
    "a symbolic link": (member("./config", tarfile.SYMTYPE, link="/etc/passwd"), "config: a link"),
    "a hard link": (member("./config", tarfile.LNKTYPE, link=CONFIG), "config: a link"),
    "a device": (member("./null", tarfile.CHRTYPE), "null: a link, a device"),
    "a pipe": (member("./pipe", tarfile.FIFOTYPE), "pipe: a link, a device"),
    "a path upwards": (member("../escaped"), "'../escaped': leads out"),
    "a path up from below": (member("a/../../escaped"), "leads out"),
    "an absolute path": (member("/tmp/escaped"), "'/tmp/escaped': leads out"),  # noqa: S108
    "a member twice": (member(f"./{CONFIG}"), f"{CONFIG}: occurs twice"),
    "a member twice, spelled differently": (member(CONFIG), f"{CONFIG}: occurs twice"),
    "a size beyond the file": (member("./big", size=1 << 40), "big: truncated: 1099511"),
    "a header of gigabytes": (member("./x", tarfile.XHDTYPE, size=1 << 33), "a header of 8589934592 bytes"),
}


@pytest.mark.parametrize("odd", ODD_MEMBERS)
def test_an_archive_with_an_odd_member_is_refused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    info, complaint = ODD_MEMBERS[odd]
    path = write_tar(tmp_path / "x.nemo", nemo1_members(llama))
    content = path.read_bytes().rstrip(b"\0")
    content += b"\0" * (-len(content) % 512)
    path.write_bytes(content + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    said = refusal(path, monkeypatch)
    assert complaint in said
    assert "x.nemo" in said


@pytest.mark.parametrize("part", range(1, 40))
def test_an_archive_that_is_cut_off_anywhere_is_refused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    path = write_tar(tmp_path / "x.nemo", nemo1_members(llama, tp=2))
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    path.write_bytes(content[: end * part // 40])
    assert "x.nemo" in refusal(path, monkeypatch)


def test_a_flipped_byte_in_a_header_is_refused(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "x.nemo", nemo1_members(llama, tp=2))
    content = path.read_bytes()
    for at in (0, 124, 148, content.index(b"./mp_rank_01"), content.index(b"./mp_rank_01") + 130):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        assert "x.nemo" in refusal(path, monkeypatch)


def test_a_compressed_archive_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "x.nemo", "w:gz") as archive:
        archive.addfile(member("./model_config.yaml"))
    assert "compressed; unpack it (mkdir DIR; tar -xzf FILE -C DIR)" in refusal(tmp_path / "x.nemo", monkeypatch)


@pytest.mark.parametrize("name", ["mp_rank_01/model_weights.ckpt", "mp_rank_00/model_weights.ckpt"])
def test_a_missing_rank_is_named(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    members = nemo1_members(llama, tp=2)
    del members[name]
    said = refusal(write_tar(tmp_path / "x.nemo", members), monkeypatch)
    assert f"no model_weights.ckpt of tensor rank {int(name[8:10])} of 2" in said


def test_ranks_that_do_not_fit_together_are_refused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = nemo1_members(llama, tp=2)
    state = torch.load(io.BytesIO(members["mp_rank_01/model_weights.ckpt"]), weights_only=False)
    members["mp_rank_01/model_weights.ckpt"] = saved({**state, FC1: state[FC1][:-2]}, prefix="")
    said = refusal(write_tar(tmp_path / "x.nemo", members), monkeypatch)
    assert "(mp_rank_01/model_weights.ckpt): decoder.layers.1.mlp.linear_fc1.weight: float32 [10, 16]; " in said


def test_a_zarr_checkpoint_is_refused_with_the_way_out(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {CONFIG: nemo1_members(llama)[CONFIG], "model_weights/metadata.json": b'{"sharded_backend": "zarr"}'}
    said = refusal(write_tar(tmp_path / "x.nemo", members), monkeypatch)
    assert "a zarr checkpoint, which is not supported; save it again with NeMo" in said
