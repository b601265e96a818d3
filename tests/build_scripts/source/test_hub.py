"""What is fetched of the HuggingFace hub, which a fake of `snapshot_download` stands for."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

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
        (None, ["model.safetensors"], (), set()),
    ],
)
def test_of_the_hub_the_weights_are_fetched_once_and_in_a_format_that_the_runtime_reads(
    hub: Path, index: str | None, offered: list[str], formats: tuple[Format, ...], fetched: set[str]
) -> None:
    _offer(hub, index, *offered)
    with resolve("org/model", hub, formats) as checkpoint:
        assert {path.name for path in checkpoint.directory.iterdir()} - {"config.json", index} == fetched


@pytest.mark.parametrize("split", [False, True])
def test_pickled_weights_of_the_hub_are_fetched_and_converted_for_a_runtime_that_reads_no_others(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = "pytorch_model-00001-of-00001.bin" if split else "pytorch_model.bin"
    (hub / "config.json").write_text('{"architectures": ["MambaForCausalLM"]}')
    torch.save({"w": torch.ones(2, 3)}, hub / file)
    if split:
        (hub / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": file}}))
    with resolve("org/model", hub, SAFETENSORS) as checkpoint:
        assert checkpoint.source == "org/model"
        assert load_file(checkpoint.directory / "model.safetensors")["w"].tolist() == [[1, 1, 1]] * 2
    with resolve("org/model", hub, FORMATS) as checkpoint:
        assert checkpoint.directory == tmp_path / "snapshot"


def test_an_index_on_the_hub_brings_nothing_but_weights(hub: Path) -> None:
    (hub / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "run.py", "b": "x*.safetensors"}})
    )
    _offer(hub, None, "run.py", "xyz.safetensors")
    with resolve("org/model", hub) as checkpoint:
        names = {path.name for path in checkpoint.directory.iterdir()}
    assert names == {"config.json", "model.safetensors.index.json"}
