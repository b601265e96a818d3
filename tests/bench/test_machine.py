"""What figures are said to be measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import machine

H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory where programs and, beside the installed ones, packages are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write_nvidia_smi(path: Path, *gpus: str, status: int = 0) -> None:
    program = path / "nvidia-smi"
    program.write_text("\n".join(["#!/bin/sh", *(f"echo '{gpu}'" for gpu in gpus), f"exit {status}"]))
    program.chmod(0o755)


def write_package(path: Path, name: str, version: str) -> None:
    metadata = path / f"{name}-0.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_machine_with_other_gpus_or_another_tensorrt_llm_is_another_machine(path: Path) -> None:
    found = [machine.decisive(machine.describe())]
    write_nvidia_smi(path, H100)
    found.append(machine.decisive(machine.describe()))
    write_nvidia_smi(path, H100, H100)
    found.append(machine.decisive(machine.describe()))
    write_nvidia_smi(path, H200, H200)
    found.append(machine.decisive(machine.describe()))
    for version in ("1.2.0", "1.2.1"):
        write_package(path, "tensorrt_llm", version)
        found.append(machine.decisive(machine.describe()))
    assert all(one not in found[:number] for number, one in enumerate(found))
    assert [one["gpus"] for one in found[:4]] == [[], [H100], [H100, H100], [H200, H200]]
    assert found[-1] == machine.decisive(machine.describe())


def test_gpus_are_told_with_the_machine(path: Path) -> None:
    assert "GiB; Linux" in machine.one_line(machine.describe())
    write_nvidia_smi(path, H100, H100)
    assert f"GiB; 2 × {H100}; Linux" in machine.one_line(machine.describe())


def test_a_driver_that_does_not_answer_is_no_gpu(path: Path) -> None:
    write_nvidia_smi(path, "NVIDIA-SMI has failed because it could not communicate with the driver", status=9)
    assert machine.describe()["gpus"] == []


def test_what_other_programs_take_is_told_above_a_tenth_of_a_core() -> None:
    assert machine.disturbance(0.1) is None
    assert machine.disturbance(0.42) == "other programs kept 0.4 cores busy"
