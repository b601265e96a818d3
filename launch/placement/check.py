"""Whether the engines of one server can be placed as their specs say: checked before any of them is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launch.placement.budgets import Claim, Memory, check_budgets
from launch.placement.machine import Machine, gpu_memory
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.placement.cpus import check_cpus
from triton_repo.contract.placement.gpus import entries, visible_devices
from triton_repo.contract.placement.memory import MemoryNeed
from triton_repo.embed.settings import EncoderConfig

Configuration = EngineConfig | EncoderConfig


def check_placement(engines: Sequence[Configuration], machine: Machine) -> None:
    """
    Raises:
        LaunchError: an engine is to run on CPUs or GPUs that are not there, or the engines do not fit into the memory
            that they share; the message names the engine, the key and what there is.
    """
    for engine in engines:
        for cpus in engine.placement.cpus:
            check_cpus(engine.name, cpus, machine.cpus)
    for memory, claims in claims_by_memory(engines, machine):
        check_budgets(memory, claims)


def claims_by_memory(engines: Sequence[Configuration], machine: Machine) -> Iterator[tuple[Memory, Sequence[Claim]]]:
    """Who wants how much of each GPU and of the machine's memory; engines whose sizes are not known want nothing."""
    by_gpu: dict[int, list[Claim]] = {}
    of_machine: list[Claim] = []
    for engine in engines:
        need, instances = engine.memory or MemoryNeed(), engine.placement.instances
        if isinstance(engine, EncoderConfig) or engine.tensorrt_llm is None:
            of_machine.append(Claim(engine.name, need, instances))
            if isinstance(engine, EncoderConfig) and engine.response_cache_bytes:
                of_machine.append(Claim(engine.name, MemoryNeed(working_bytes=engine.response_cache_bytes)))
            continue
        for instance in range(instances):
            for gpu in _gpus(engine, instance, machine):
                by_gpu.setdefault(gpu, []).append(Claim(engine.name, need))
        if host_bytes := engine.tensorrt_llm.kv_cache_host_memory_bytes:
            of_machine.append(Claim(engine.name, MemoryNeed(kv_cache_bytes=host_bytes), instances))
    for gpu, claims in sorted(by_gpu.items()):
        if (memory := gpu_memory(machine.gpus, gpu)) is not None:
            yield memory, claims
    yield machine.memory, of_machine


def _gpus(engine: EngineConfig, instance: int, machine: Machine) -> Iterator[int]:
    """The GPUs of one instance, by NVML's numbers, as far as those are known: not of UUIDs and slices of MIG."""
    chosen = engine.placement.gpus_of(instance)
    for device in visible_devices(engine.name, chosen, machine.visible) if chosen else _first_ones(engine, machine):
        if not device.isdecimal():
            continue
        if chosen and machine.gpus.count and int(device) >= machine.gpus.count:
            rule = f"there are {machine.gpus.count} here: must be < {machine.gpus.count}"
            raise LaunchError(f"engine {engine.name}: placement.gpus: GPU {device}: {rule}")
        yield int(device)


def _first_ones(engine: EngineConfig, machine: Machine) -> Sequence[str]:
    """Where none are chosen; TensorRT-LLM itself says if they are too few."""
    settings = engine.tensorrt_llm
    num_ranks = settings.tensor_parallel * settings.pipeline_parallel if settings else 0
    every = map(str, range(machine.gpus.count)) if machine.visible is None else entries(machine.visible)
    return list(every)[:num_ranks]
