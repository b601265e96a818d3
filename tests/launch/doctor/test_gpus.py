"""What is said of GPUs, from values that drivers have reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from launch.doctor import gpus
from launch.doctor.finding import Finding
from launch.doctor.gpus import Link, check_driver, check_gpus, check_links, wanted_cuda
from tests.fake_nvml import H100, install_gpus
from triton_repo.contract.gpu import Gpu, InstalledGpus, installed_gpus

GIB = 2**30
ONE_H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, (9, 0))


@dataclass
class RecordedNvml:
    """The answers of one driver."""

    driver: str = "580.65.06"
    cuda: tuple[int, int] = (13, 0)
    free: int = 79 * GIB
    links: Mapping[tuple[int, int], Link] = field(default_factory=dict)

    def driver_version(self) -> str:
        return self.driver

    def cuda_version(self) -> tuple[int, int]:
        return self.cuda

    def free_bytes(self, _: int) -> int:
        return self.free

    def link(self, one: int, other: int) -> Link:
        return self.links.get((one, other), "NVLink")


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_one_gpu_with_a_driver_that_is_new_enough_is_well() -> None:
    found = by_name(check_gpus(RecordedNvml(), [ONE_H100], (13, 1), None, {}))
    assert [finding.severity for finding in found.values()] == ["ok"]
    assert found["GPU driver"].found == "580.65.06, for CUDA up to 13.0; installed is 13.1"


@pytest.mark.parametrize(
    ("driver", "runs", "wanted", "todo"),
    [
        ("570.86.15", (12, 8), (13, 1), "install a driver 580 or newer, or cuda-compat-13-1"),
        ("470.256.02", (11, 4), (12, 9), "install a driver 525 or newer, or cuda-compat-12-9"),
        ("570.86.15", (12, 8), (14, 0), "install a newer driver, or cuda-compat-14-0"),
        ("535.183.01", (12, 2), (12, 9), ""),
        ("590.44.01", (13, 1), (12, 8), ""),
        ("590.44.01", (13, 1), None, ""),
    ],
)
def test_a_driver_runs_each_minor_version_of_cuda_up_to_its_major_one(
    driver: str, runs: tuple[int, int], wanted: tuple[int, int] | None, todo: str
) -> None:
    finding = check_driver(driver, runs, wanted)
    assert finding.severity == ("error" if todo else "ok")
    assert todo in finding.todo


def test_memory_that_others_hold_is_told() -> None:
    found = by_name(check_gpus(RecordedNvml(free=10 * GIB), [ONE_H100], None, None, {}))
    assert found["GPU 0 memory"].found == "10 of 80 GiB free"
    assert found["GPU 0 memory"].severity == "warning"


def test_several_gpus_are_told_by_their_links() -> None:
    nvml = RecordedNvml(links={(0, 1): "PCIe"})
    found = by_name(check_gpus(nvml, [ONE_H100] * 3, None, "2.28.3", {}))
    assert found["GPU links"].found == "2 pairs by NVLink, 1 pairs by PCIe"
    assert found["NCCL"].found == "2.28.3"
    assert {finding.severity for finding in found.values()} == {"ok"}


def test_gpus_that_cannot_reach_each_other_are_named() -> None:
    finding = check_links({(0, 1): "none", (0, 2): "none", (1, 2): "PCIe"})
    assert finding.found == "1 pairs by PCIe; none between 0-1, 0-2"
    assert "nvidia-smi topo -p2p r" in finding.todo


def test_several_gpus_need_nccl_and_its_settings_are_told() -> None:
    found = by_name(check_gpus(RecordedNvml(), [ONE_H100] * 2, None, None, {"NCCL_P2P_DISABLE": "1"}))
    assert found["NCCL"].found == "not installed"
    assert found["NCCL settings"].todo.startswith("unset NCCL_P2P_DISABLE ")


def test_the_cuda_of_a_container_is_the_one_that_is_wanted() -> None:
    assert wanted_cuda({"CUDA_VERSION": "13.1.0.044"}) == (13, 1)
    assert wanted_cuda({"CUDA_VERSION": "none"}) is None


def test_the_library_of_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install_gpus(monkeypatch, H100, H100)
    with gpus.driver_nvml() as driver:
        assert (driver.driver_version(), driver.cuda_version(), driver.link(0, 1)) == ("580.65.06", (13, 0), "PCIe")
        assert driver.free_bytes(0) == 81559 << 20
    assert nvml.open == 0
    found = by_name(gpus.findings(installed_gpus()))
    assert found["GPU"].found.count("NVIDIA H100") == 2
    assert found["GPU links"].found == "1 pairs by PCIe"


def test_the_gpus_of_this_machine_are_asked_for() -> None:
    for finding in gpus.findings(installed_gpus()):
        assert finding.what.startswith(("GPU", "NCCL"))


def test_a_driver_that_does_not_answer_is_no_error_for_the_cpu_engine() -> None:
    [finding] = gpus.findings(InstalledGpus(problem="Unknown Error"))
    assert (finding.severity, finding.todo) == ("warning", "NVML reports: Unknown Error")


def test_a_driver_that_stops_answering_meanwhile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install_gpus(monkeypatch, H100)
    found = installed_gpus()
    nvml.error = 999
    *_, last = gpus.findings(found)
    assert (last.what, last.severity) == ("GPU driver", "warning")
