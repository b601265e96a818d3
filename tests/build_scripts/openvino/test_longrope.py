from __future__ import annotations

from pathlib import Path

import pytest

from bench.architectures.catalog import named
from bench.architectures.checkpoint import write_checkpoint
from build_scripts.build import build
from build_scripts.plan import BuildRequest
from build_scripts.spec.reading import read_spec
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import SpecError


def test_an_engine_with_longrope_takes_the_longest_sequences_that_it_computes_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(named("phi3, longrope"), tmp_path / "model")  # 512 positions, trained with 128
    spec = {"model": str(tmp_path / "model"), "name": "long"}
    engine = build(BuildRequest(read_spec(None, spec), "flags", tmp_path, tmp_path / "built"))
    assert EngineConfig.load(engine.directory).max_seq_len == 128
    assert "max_seq_len 128: the longest that is computed right" in capsys.readouterr().err
    with pytest.raises(SpecError, match=r"build\.max_seq_len = 256; must be ≤ 128"):
        build(BuildRequest(read_spec(None, {**spec, "build.max_seq_len": 256}), "flags", tmp_path, tmp_path / "built"))
