"""Broken and hostile distributed checkpoints: `.metadata` is a pickle, which torch itself would run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import Metadata

from tests.build_scripts.checkpoints import make_checkpoint
from tests.build_scripts.weights.nemo.nemo_checkpoints import megatron_state, saved
from tests.build_scripts.weights.nemo.test_nemo import SMALL
from tests.build_scripts.weights.nemo.test_nemo_hostile import Trap, refusal
from tests.build_scripts.weights.nemo.torch_dist_checkpoints import make_nemo2, stacked


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama") / "checkpoint", **SMALL)


def deep_key() -> bytes:
    return pickle.PROTO + b"\x04" + b"}" + b")" + pickle.TUPLE1 * 1_000_000 + b"N" + b"s."


BAD_METADATA: dict[str, tuple[bytes, str]] = {
    "a program": (pickle.dumps(Trap()), "asks for posix.system"),
    "a program in protocol 0": (b"cos\nsystem\n(S'touch trapped'\ntR.", "asks for os.system"),
    "a program by another name": (b"cbuiltins\neval\n(S'1'\ntR.", "asks for builtins.eval"),
    "a program by a dotted name": (b"\x80\x04\x8c\x05torch\x8c\x0bSize.mro.xx\x93.", "asks for torch.Size.mro.xx"),
    "code by the old way": (b"(S'touch trapped'\nios\nsystem\n.", "damaged"),
    "state for a function": (b"ctorch\nSize\n}b.", "sets the state of what has none"),
    "something else": (pickle.dumps({"a": 1}), "not the metadata of"),
    "nothing": (b"", "damaged"),
    "noise": (bytes(range(256)), "damaged"),
    "a place in memory that is not there": (
        pickle.PROTO + b"\x04N" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f.",
        "not the",
    ),
    "a key without a bottom": (deep_key(), "a table with keys of an odd kind"),
}


@pytest.fixture
def nemo2(llama: Path, tmp_path: Path) -> Path:
    return make_nemo2(tmp_path / "x", llama, stacked(megatron_state(llama)), tp=2)


@pytest.mark.parametrize("bad", BAD_METADATA)
def test_metadata_that_is_more_or_less_than_that_is_refused_and_never_run(
    nemo2: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    content, complaint = BAD_METADATA[bad]
    (nemo2 / "weights" / ".metadata").write_bytes(content)
    said = refusal(nemo2, monkeypatch)
    assert "/.metadata" in said
    assert complaint in said


def test_metadata_that_is_cut_off_anywhere_is_refused(nemo2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nemo2 / "weights" / ".metadata"
    content = path.read_bytes()
    for part in range(1, 20):
        path.write_bytes(content[: len(content) * part // 20])
        assert "/.metadata" in refusal(nemo2, monkeypatch)


def change_metadata(nemo2: Path, change: Callable[[Metadata], None]) -> None:
    path = nemo2 / "weights" / ".metadata"
    metadata = pickle.loads(path.read_bytes())  # noqa: S301 - torch wrote it just now
    change(metadata)
    path.write_bytes(pickle.dumps(metadata))


NORM = "module.decoder.final_layernorm.weight"
LINEAR = "module.decoder.layers.mlp.linear_fc1.weight"


def _place(metadata: Any, key: str = NORM) -> Any:
    return next(info for index, info in metadata.storage_data.items() if index.fqn == key)


BAD_PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a file elsewhere": (lambda metadata: vars(_place(metadata)).update(relative_path="../../x"), "lies in '../../x'"),
    "an absolute file": (lambda metadata: vars(_place(metadata)).update(relative_path="/etc/passwd"), "'/etc/passwd'"),
    "a file that is not there": (
        lambda metadata: vars(_place(metadata)).update(relative_path="__9_9.distcp"),
        "__9_9.distcp is missing",
    ),
    "a place beyond the file": (lambda metadata: vars(_place(metadata)).update(offset=1 << 40), "truncated"),
    "a negative place": (lambda metadata: vars(_place(metadata)).update(offset=-1), "no place in a file"),
    "the place of another tensor": (
        lambda metadata: vars(_place(metadata)).update(vars(_place(metadata, LINEAR))),
        ".metadata lists float32 [16]",
    ),
    "a compressed tensor": (
        lambda metadata: vars(_place(metadata)).update(transform_descriptors=["zstd"]),
        "compressed or encrypted",
    ),
    "a chunk too few": (
        lambda metadata: metadata.state_dict_metadata[LINEAR].chunks.pop(),
        "decoder.layers.2.mlp.linear_fc1.weight: rows 12…24 are missing",
    ),
    "a chunk twice": (
        lambda metadata: metadata.state_dict_metadata[LINEAR].chunks.append(
            metadata.state_dict_metadata[LINEAR].chunks[0]
        ),
        "are there twice",
    ),
    "layers without end": (
        lambda metadata: vars(metadata.state_dict_metadata[LINEAR]).update(size=torch.Size([1 << 50, 24, 16])),
        "layers; must be 1 to 4096",
    ),
    "a chunk of no file": (lambda metadata: metadata.storage_data.clear(), "no file has its chunk"),
    "another dtype": (
        lambda metadata: vars(metadata.state_dict_metadata[NORM].properties).update(dtype=torch.float16),
        ".metadata lists float16 [16]",
    ),
}


@pytest.mark.parametrize("bad", BAD_PLACES)
def test_metadata_that_contradicts_the_files_is_refused(nemo2: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    change, complaint = BAD_PLACES[bad]
    change_metadata(nemo2, change)
    assert complaint in refusal(nemo2, monkeypatch)


def test_a_chunk_that_runs_code_is_refused_and_never_run(nemo2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = saved({"a": Trap()})
    (nemo2 / "weights" / "__9_9.distcp").write_bytes(trap)
    place = {"relative_path": "__9_9.distcp", "offset": 0, "length": len(trap)}
    change_metadata(nemo2, lambda metadata: vars(_place(metadata)).update(place))
    said = refusal(nemo2, monkeypatch)
    assert "__9_9.distcp: its pickle contains more than tensors" in said


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [(".metadata", "no weights: neither model_weights.ckpt, nor"), ("__0_0.distcp", "__0_0.distcp is missing")],
)
def test_a_missing_file_of_a_distributed_checkpoint_is_named(
    nemo2: Path, monkeypatch: pytest.MonkeyPatch, missing: str, complaint: str
) -> None:
    (nemo2 / "weights" / missing).unlink()
    assert complaint in refusal(nemo2, monkeypatch)
