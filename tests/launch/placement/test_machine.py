"""What engines are placed on: GPUs by number, CPUs, and the memory that a container may use."""

from __future__ import annotations

from typing import Any

import pytest

from launch.placement.budgets import Memory
from launch.placement.check import check_placement, claims_by_memory
from launch.placement.machine import Machine, machine_memory
from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.engine_config import EngineConfig, TensorRtLlmConfig
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.gpu import Gpu, InstalledGpus
from triton_repo.contract.placement.memory import MemoryNeed
from triton_repo.contract.placement.settings import Placement

GB = 10**9
MACHINE = Machine(
    InstalledGpus((Gpu("L4", 24 * GB),) * 4), Memory("the memory of this machine", 8 * GB), frozenset((0, 1))
)
BUDGET = MemoryNeed(weight_bytes=8 * GB, kv_cache_bytes=4 * GB, takes_what_is_free=True)


def on_gpus(name: str, *gpus: int, memory: MemoryNeed = BUDGET, **settings: Any) -> EngineConfig:
    settings = {"flow": "pytorch", "tensor_parallel": max(1, len(gpus)), **settings}
    placement = Placement(gpus=(gpus,) if gpus else ())
    return engine_config(
        name=name,
        runtime="tensorrt_llm",
        tensorrt_llm=TensorRtLlmConfig(**settings),
        memory=memory,
        placement=placement,
    )


def names(engines: list[EngineConfig], machine: Machine = MACHINE) -> dict[str, list[str]]:
    return {memory.name: [claim.engine for claim in claims] for memory, claims in claims_by_memory(engines, machine)}


def test_engines_claim_memory_of_the_gpus_that_they_name_and_else_of_the_first_ones() -> None:
    found = names([on_gpus("a", 2, 3), on_gpus("b"), on_gpus("c", tensor_parallel=2)])
    del found[MACHINE.memory.name]
    assert found == {"GPU 0 (L4)": ["b", "c"], "GPU 1 (L4)": ["c"], "GPU 2 (L4)": ["a"], "GPU 3 (L4)": ["a"]}


def test_gpus_count_among_those_that_the_server_sees() -> None:
    machine = Machine(MACHINE.gpus, MACHINE.memory, MACHINE.cpus, visible="3,1,GPU-8932f937")
    found = names([on_gpus("a", 0), on_gpus("b", 1), on_gpus("c", 2), on_gpus("d")], machine)
    del found[MACHINE.memory.name]
    assert found == {"GPU 1 (L4)": ["b"], "GPU 3 (L4)": ["a", "d"]}


def test_two_engines_whose_budgets_fit_share_a_gpu_and_three_do_not() -> None:
    check_placement([on_gpus("a", 1), on_gpus("b", 1)], MACHINE)
    check_placement([on_gpus("a", 1), on_gpus("b", 1), on_gpus("c", 2)], MACHINE)
    with pytest.raises(LaunchError, match=r"engine c: does not fit GPU 1 \(L4\): asks for 12\.00 GB"):
        check_placement([on_gpus("a", 1), on_gpus("b", 1), on_gpus("c", 1)], MACHINE)


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match=r"engine a: placement\.gpus: GPU 4: there are 4 here: must be < 4"):
        check_placement([on_gpus("a", 4)], MACHINE)


def test_engines_on_the_cpu_share_its_memory_with_blocks_that_gpus_have_no_room_for() -> None:
    on_cpu = engine_config(name="cpu", memory=MemoryNeed(weight_bytes=2 * GB, kv_cache_bytes=3 * GB))
    check_placement([on_cpu, on_gpus("a", 0, kv_cache_host_memory_bytes=3 * GB)], MACHINE)
    with pytest.raises(LaunchError, match=r"engine a: does not fit the memory of this machine: asks for 4\.00 GB"):
        check_placement([on_cpu, on_gpus("a", 0, kv_cache_host_memory_bytes=4 * GB)], MACHINE)


def test_a_cpu_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match=r"engine cpu: placement\.cpus: CPU 2: may run on 0, 1 here"):
        check_placement([engine_config(name="cpu", placement=Placement(cpus=((1, 2),)))], MACHINE)


def test_this_machine_has_memory() -> None:
    assert machine_memory().num_bytes > 1 << 30
