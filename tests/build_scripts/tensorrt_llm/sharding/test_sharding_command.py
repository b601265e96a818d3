"""`python -m build_scripts.tensorrt_llm.sharding`: the conversion alone, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.build_scripts.conftest import Workshop, contents
from tests.build_scripts.tensorrt_llm.sharding.test_sharding import assert_equal, recombined


def test_the_conversion_alone_is_a_command(workshop: Workshop) -> None:
    argv = [str(workshop.checkpoint), str(workshop.root / "out")]
    command = [sys.executable, "-m", "build_scripts.tensorrt_llm.sharding", *argv]
    subprocess.run([*command, "--tp", "2", "--dtype", "float16"], check=True, capture_output=True, timeout=480)
    ranks = [load_file(workshop.root / "out" / f"rank{rank}.safetensors") for rank in range(2)]
    assert_equal(recombined(workshop.root / "out", ranks), workshop.checkpoint)


def test_a_conversion_that_fails_leaves_nothing_behind(workshop: Workshop) -> None:
    weights = load_file(workshop.checkpoint / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].float() + 1e30
    save_file(weights, workshop.checkpoint / "model.safetensors", metadata={"format": "pt"})
    command = [sys.executable, "-m", "build_scripts.tensorrt_llm.sharding", str(workshop.checkpoint), "out"]
    before = contents(workshop.root)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    for dtype, complaint in (
        ("float16", "has values that are not finite in float16"),
        ("int4", '--dtype = "int4"; al'),
    ):
        run_it = [*command, "--dtype", dtype]
        done = subprocess.run(
            run_it, cwd=workshop.root, env=environment, check=False, capture_output=True, text=True, timeout=480
        )
        assert (done.returncode, complaint in done.stderr) == (1, True), done.stderr
        assert contents(workshop.root) == before
        assert not (workshop.root / "out").exists()
