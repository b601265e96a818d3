"""Manifests and engine.json of other versions of Conch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from build_scripts.engine.manifest import FORMAT, Manifest
from build_scripts.engine.render import engine_config
from build_scripts.tensorrt_llm import on_gpu_host
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import COMPILED_BY, EngineDirectory
from triton_repo.contract.errors import BuildError

VALUES: dict[str, Any] = {
    "inputs": {"format": FORMAT, "runtime": "openvino", "settings": {}, "checkpoint": {}, "versions": {}},
    "created": 1,
    "conch": "9.9",
    "spec": {"name": "a", "model": "m", "build": {"max_seq_len": 64}, "serve": {"num_threads": 2}},
    "facts": {"architecture": "X", "vocab_size": 8, "eos_token_ids": [1], "sampling": {}},
    "chat": False,
    "source_files": [],
    "files": {},
}
NEW = {"of_a_newer_version": 1}


def written(path: Path, values: dict[str, Any]) -> EngineDirectory:
    directory = EngineDirectory(path)
    directory.manifest_file.write_text(json.dumps(values), encoding="utf-8")
    return directory


def test_a_manifest_of_a_newer_version_is_read_without_what_is_new_in_it(tmp_path: Path) -> None:
    old = Manifest.load(written(tmp_path, VALUES))
    newer: dict[str, Any] = json.loads(json.dumps(VALUES)) | NEW
    for part in (newer["inputs"], newer["facts"], newer["spec"], newer["spec"]["build"], newer["spec"]["serve"]):
        part.update(NEW)
    assert Manifest.load(written(tmp_path, newer)) == old
    assert (old.spec.serve.num_threads, old.max_seq_len) == (2, 64)


def test_a_manifest_of_a_newer_format_is_rejected_by_name(tmp_path: Path) -> None:
    newer = VALUES | {"inputs": {**VALUES["inputs"], "format": FORMAT + 1}}
    with pytest.raises(BuildError, match=rf"built by a newer version of Conch: format {FORMAT + 1} of manifest\.json"):
        Manifest.load(written(tmp_path, newer))


def test_engine_json_of_a_newer_version_is_read_without_what_is_new_in_it(tmp_path: Path) -> None:
    directory = written(tmp_path, VALUES)
    config = engine_config(Manifest.load(directory), directory)
    values = config.model_dump(mode="json", exclude_none=True)
    directory.config_file.write_text(json.dumps(values | NEW), encoding="utf-8")
    assert EngineConfig.load(tmp_path) == config


def test_the_gpu_host_writes_the_note_that_the_engine_directory_reads() -> None:
    assert on_gpu_host.NOTE == COMPILED_BY
