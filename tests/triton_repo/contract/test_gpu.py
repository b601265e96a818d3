"""What Conch learns of a machine's GPUs from NVML."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from tests.fake_nvml import H100, H200, install_gpus
from triton_repo.contract.gpu import Gpu, InstalledGpus, installed_gpus

ROOT = Path(__file__).parents[3]


def test_each_gpu_has_its_name_its_memory_and_its_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install_gpus(monkeypatch, H100, H200)
    found = installed_gpus()
    assert found == InstalledGpus((Gpu(*H100), Gpu(*H200)))
    assert (found.count, found.devices[0].compute_capability) == (2, "9.0")
    assert not nvml.open


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_a_machine_without_a_driver_has_no_gpu_and_no_problem(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    install_gpus(monkeypatch, H100, error=error)
    assert installed_gpus() == InstalledGpus()


def test_a_driver_that_does_not_answer_is_a_problem_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpus(monkeypatch, H100, error=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    found = installed_gpus()
    assert found.count == 0
    assert found.problem


def test_the_module_prints_what_nvml_reports() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "triton_repo.contract.gpu"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert set(json.loads(done.stdout)) == {"devices", "problem"}
