"""What figures are said to be measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import machine
from tests.fake_nvml import H100, H200, install_gpus


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory where packages are found, in addition to the installed ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write_package(path: Path, name: str, version: str) -> None:
    metadata = path / f"{name}-0.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_machine_with_other_gpus_or_another_tensorrt_llm_is_another_machine(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for gpus in ((), (H100,), (H100, H100), (H200, H200)):
        install_gpus(monkeypatch, *gpus)
        found.append(machine.decisive(machine.describe()))
    for version in ("1.2.0", "1.2.1"):
        write_package(path, "tensorrt_llm", version)
        found.append(machine.decisive(machine.describe()))
    assert all(one not in found[:number] for number, one in enumerate(found))
    names = [[], [H100[0]], [H100[0], H100[0]], [H200[0], H200[0]]]
    assert [one["gpus"] for one in found[:4]] == names
    assert found[-1] == machine.decisive(machine.describe())


def test_gpus_are_named_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpus(monkeypatch)
    assert "GiB; Linux" in machine.one_line(machine.describe())
    install_gpus(monkeypatch, H100, H100)
    assert f"GiB; 2 × {H100[0]}; Linux" in machine.one_line(machine.describe())


def test_what_other_programs_take_is_told_above_a_tenth_of_a_core() -> None:
    assert machine.disturbance(0.1) is None
    assert machine.disturbance(0.42) == "other programs kept 0.4 cores busy"
