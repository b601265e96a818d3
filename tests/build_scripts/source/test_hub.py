"""What is fetched of the HuggingFace hub, which a fake of `snapshot_download` stands for."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

from build_scripts.source.checkpoint import resolve
from build_scripts.weights.huggingface import FORMATS, SAFETENSORS, Format


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the only model of a hub: what is fetched of them comes into `snapshot` beside it."""
    files, snapshot = tmp_path / "hub", tmp_path / "snapshot"
    files.mkdir()
    snapshot.mkdir()
    (files / "config.json").write_text("{}")

    def fetch(model: str, *, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert (model, revision) in {("org/model", None), ("org/model", "snapshot")}
        for file in filter(Path.is_file, files.rglob("*")):
            name = file.relative_to(files).as_posix()
            allowed, ignored = (
                any(fnmatch(name, at) for at in patterns) for patterns in (allow_patterns, ignore_patterns)
            )
            if allowed and not ignored:
                shutil.copy(file, snapshot / name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    return files


def _offer(hub: Path, index: str | None, *names: str) -> None:
    """Put the files on the hub; `index` names those that end like it."""
    for name in names:
        (hub / name).write_bytes(b"")
    if index is not None:
        suffix = index.removesuffix(".index.json").rpartition(".")[2]
        shards = [name for name in names if name.startswith(("model-", "pytorch_model-")) and name.endswith(suffix)]
        (hub / index).write_text(json.dumps({"weight_map": {f"w{number}": name for number, name in enumerate(shards)}}))


@pytest.mark.parametrize(
    ("index", "offered", "formats", "fetched"),
    [
        (None, ["model.safetensors", "pytorch_model.bin", "evil.py"], FORMATS, {"model.safetensors"}),
        (None, ["model.safetensors", "consolidated.safetensors"], SAFETENSORS, {"model.safetensors"}),
        (
            "model.safetensors.index.json",
            ["model-1-of-2.safetensors", "model-2-of-2.safetensors", "consolidated.safetensors"],
            SAFETENSORS,
            {"model-1-of-2.safetensors", "model-2-of-2.safetensors"},
        ),
        (None, ["pytorch_model.bin", "training_args.bin"], FORMATS, {"pytorch_model.bin"}),
        (
            "pytorch_model.bin.index.json",
            ["pytorch_model-1-of-2.bin", "pytorch_model-2-of-2.bin", "scheduler.bin"],
            FORMATS,
            {"pytorch_model-1-of-2.bin", "pytorch_model-2-of-2.bin"},
        ),
        (None, ["pytorch_model.bin"], SAFETENSORS, set()),
        (None, ["model.safetensors"], (), set()),
    ],
)
def test_of_the_hub_the_weights_are_fetched_once_and_in_a_format_that_the_runtime_reads(
    hub: Path, index: str | None, offered: list[str], formats: tuple[Format, ...], fetched: set[str]
) -> None:
    _offer(hub, index, *offered)
    with resolve("org/model", hub, formats) as checkpoint:
        assert {path.name for path in checkpoint.directory.iterdir()} - {"config.json", index} == fetched


def test_an_index_on_the_hub_brings_nothing_but_weights(hub: Path) -> None:
    (hub / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "run.py", "b": "x*.safetensors"}})
    )
    _offer(hub, None, "run.py", "xyz.safetensors")
    with resolve("org/model", hub) as checkpoint:
        names = {path.name for path in checkpoint.directory.iterdir()}
    assert names == {"config.json", "model.safetensors.index.json"}
