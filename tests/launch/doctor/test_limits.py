from __future__ import annotations

from dataclasses import replace

import pytest

from launch.doctor import host, limits
from launch.doctor.host import check_clock, check_host_name
from launch.doctor.limits import Limits, check_limits, check_memory, read_limits

ENOUGH = Limits(
    open_files=1 << 20, locked_bytes=None, stack_bytes=None, memory_bytes=1 << 40, cores=None, visible_cores=8
)


def todo(found: Limits, *, has_gpu: bool = False) -> str:
    return "; ".join(finding.todo for finding in check_limits(found, has_gpu=has_gpu) if finding.severity != "ok")


def test_a_machine_without_limits_is_well() -> None:
    assert todo(ENOUGH, has_gpu=True) == ""


def test_each_limit_that_is_too_low_says_what_to_do() -> None:
    assert "ulimit -Hn" in todo(replace(ENOUGH, open_files=1024))
    assert "serve.num_threads = 2" in todo(replace(ENOUGH, cores=2.5))
    assert "serve.num_threads = 1" in todo(replace(ENOUGH, cores=0.5))


def test_locked_memory_and_stack_matter_to_gpus_alone() -> None:
    low = replace(ENOUGH, locked_bytes=64 << 10, stack_bytes=8 << 20)
    assert todo(low) == ""
    assert todo(low, has_gpu=True).count("--ulimit") == 2


def test_engines_that_do_not_fit_into_memory_are_told() -> None:
    assert check_memory(4 << 30, 5 << 30).found == "4.0 GiB, and all engines have 5.0 GiB of weights"
    assert check_memory(4 << 30, 3 << 30).severity == "ok"


def test_the_limits_of_this_machine_are_read() -> None:
    found = read_limits()
    assert found.memory_bytes > 0
    assert found.visible_cores > 0
    assert {finding.what for finding in limits.findings(0, has_gpu=True)} >= {"memory", "open files"}
    assert [finding.what for finding in host.findings()] == ["host name", "clock"]


@pytest.mark.parametrize(("name", "severity"), [("node-1", "ok"), ("n" * 64, "ok"), ("n" * 65, "warning")])
def test_a_name_that_mpi_cannot_take_is_told(name: str, severity: str) -> None:
    assert check_host_name(name).severity == severity


def test_a_clock_that_nothing_sets_is_told() -> None:
    assert check_clock(0).severity == "ok"
    assert check_clock(-1).found == "not told here"  # as a container says whose filter forbids the call
    assert check_clock(5).severity == "warning"
