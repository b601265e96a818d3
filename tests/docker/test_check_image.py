"""What the build of a GPU image checks, on the Triton and the packages that are here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from docker.check_image import library_problems, missing_libraries
from launch.tritonserver import find_tritonserver
from tests.docker.dockerfile import DOCKER

VERSION = "1.3.0rc28"
LDD = """\tlinux-vdso.so.1 (0x00007ffc)
\tlibb64.so.0d => not found
\tlibcuda.so.1 => not found
\tlibnvidia-ml.so.1 => not found
\tlibcudart.so.13 => not found
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f4b)
"""


def check(tmp_path: Path, version: str, installed: str = VERSION) -> subprocess.CompletedProcess[str]:
    """The check for `version` where TensorRT-LLM `installed` seems to be."""
    information = tmp_path / f"tensorrt_llm-{installed}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {installed}\n")
    argv = [sys.executable, str(DOCKER / "check_image.py"), version]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    return subprocess.run(argv, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_an_image_that_can_serve_passes_and_says_what_it_has(tmp_path: Path) -> None:
    done = check(tmp_path, VERSION)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"TensorRT-LLM {VERSION}, Triton ")


def test_another_tensorrt_llm_fails_by_both_versions(tmp_path: Path) -> None:
    done = check(tmp_path, "1.2.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"the image has TensorRT-LLM {VERSION}, and should have 1.2.1\n"


def test_a_tensorrt_llm_that_conch_does_not_run_on_fails(tmp_path: Path) -> None:
    done = check(tmp_path, "1.3.0rc20", installed="1.3.0rc20")
    assert done.returncode == 1
    assert re.fullmatch(r"Conch runs on TensorRT-LLM 1\.2\.1 .* and not on 1\.3\.0rc20\n", done.stderr)


def test_a_library_that_is_nowhere_is_named_unless_the_driver_brings_it() -> None:
    assert missing_libraries(LDD) == ["libb64.so.0d", "libcudart.so.13"]


def test_a_triton_without_its_python_backend_is_told(tmp_path: Path) -> None:
    triton = find_tritonserver(os.environ)
    assert list(library_problems(triton)) == []
    lacking = list(library_problems(replace(triton, backends=tmp_path)))
    assert lacking == [f"{tmp_path}/python/libtriton_python.so is not there"]


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    text = tmp_path / "python" / "libtriton_python.so"
    text.parent.mkdir()
    text.write_text("no library")
    (problem,) = library_problems(replace(find_tritonserver(os.environ), backends=tmp_path))
    assert str(text) in problem
