"""How the ranks of an engine that is split over several GPUs are started.

TensorRT-LLM's LLM API has one process that is asked, here the stub of the engine model, and a worker for each rank:

    single   the LLM API starts the workers itself, all on this machine. Nothing is put in front of tritonserver.
    mpirun   `mpirun` starts a `trtllm-llmapi-launch` for each rank, on several machines if `hosts` names them (the pods
             of a LeaderWorkerSet, say). The one of rank 0 runs tritonserver, and all of them become workers.
    srun     the same under Slurm, from within a job; rank 0 is on the job's first node, which is where to start it.

The ranks but the first run no tritonserver of their own: that is for the C++ backend, whose model is loaded by each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from triton_repo.contract.engine_config import EngineConfig, TensorRtLlmConfig
from triton_repo.contract.errors import LaunchError

Launcher = Literal["single", "mpirun", "srun"]

_LAUNCH: Final = "trtllm-llmapi-launch"
# mpirun hands only its own variables to other machines. Without the last two, which NVIDIA's images set, Open MPI does
# not find its own files there. A variable that is not set here would be a warning.
_FORWARDED: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "OPAL_PREFIX", "OMPI_MCA_coll_hcoll_enable")


@dataclass(frozen=True, slots=True)
class RankOptions:
    """`hosts` are `name:ranks`; `rsh_agent` is what mpirun calls to reach them, ssh by default."""

    launcher: Launcher = "single"
    hosts: tuple[str, ...] = ()
    rsh_agent: str | None = None


def rank_options(launcher: str, hosts: str | None, rsh_agent: str | None) -> RankOptions:
    """The flags as values; `hosts` are separated by commas.

    Raises:
        LaunchError: one of them is not allowed, or does not go with another.
    """
    allowed: tuple[Launcher, ...] = get_args(Launcher)
    known = next((name for name in allowed if name == launcher), None)
    if known is None:
        raise LaunchError(f"--launcher = {launcher}; allowed: {', '.join(allowed)}")
    if known != "mpirun" and (hosts or rsh_agent):
        raise LaunchError("--hosts and --rsh-agent: only with --launcher mpirun")
    return RankOptions(known, tuple(filter(None, (hosts or "").split(","))), rsh_agent)


def ranked_argv(
    argv: Sequence[str], options: RankOptions, engines: Iterable[EngineConfig], environment: Mapping[str, str]
) -> tuple[str, ...]:
    """The command line that starts tritonserver, `argv`, with the ranks of its engine; `environment` is what it has.

    Raises:
        LaunchError: there is not just one engine to split, one was compiled for other machines than these, or a word
            of `argv` would be taken apart.
    """
    engines = tuple(engines)
    if options.launcher != "srun" and len(options.hosts) < 2:
        for each in engines:
            _check_one_machine(each)
    if options.launcher == "single":
        return tuple(argv)
    engine, settings = _split_engine(options.launcher, engines)
    world_size = _world_size(settings)
    if settings.flow == "compiled":
        _check_machines(engine, settings.gpus_per_node, options.hosts)
    if torn := next((word for word in argv if len(word.split()) != 1), None):
        raise LaunchError(f"{_LAUNCH} takes a command apart at blanks: {torn!r} cannot be handed over")
    return (*_front(options, world_size, environment), _LAUNCH, *argv)


def _front(options: RankOptions, world_size: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    if options.launcher == "srun":
        return ("srun", "--mpi=pmix", f"--ntasks={world_size}", "--kill-on-bad-exit=1")
    agent = ("-mca", "plm_rsh_agent", options.rsh_agent) if options.rsh_agent else ()
    forwarded = (word for name in _FORWARDED if name in environment for word in ("-x", name))
    there = ("--host", ",".join(options.hosts), *forwarded)
    return ("mpirun", "--allow-run-as-root", "-n", str(world_size), *agent, *(there if options.hosts else ()))


def _split_engine(launcher: str, engines: Iterable[EngineConfig]) -> tuple[str, TensorRtLlmConfig]:
    split = [(engine.name, engine.tensorrt_llm) for engine in engines]
    (name, settings), *others = split
    if others or settings is None:
        names = ", ".join(name for name, _ in split)
        raise LaunchError(
            f"--launcher {launcher} starts the ranks of one engine of runtime tensorrt_llm, not of {names}"
        )
    return name, settings


def _world_size(settings: TensorRtLlmConfig) -> int:
    return settings.tensor_parallel * settings.pipeline_parallel


def _check_one_machine(engine: EngineConfig) -> None:
    """All ranks in one machine: a compiled engine would put those beyond `gpus_per_node` onto its first GPUs again."""
    settings = engine.tensorrt_llm
    if settings is None or settings.flow != "compiled":
        return
    world_size, gpus_per_node = _world_size(settings), settings.gpus_per_node
    if world_size > gpus_per_node:
        raise LaunchError(
            f"engine {engine.name} was compiled for machines of {gpus_per_node} GPUs and has {world_size} ranks: name "
            f"the machines with --launcher mpirun --hosts, or set build.gpus_per_node = {world_size} in its spec and "
            "build it again"
        )


def _check_machines(engine: str, gpus_per_node: int, hosts: Sequence[str]) -> None:
    """A compiled engine numbers the GPUs of its machines by what it was compiled for, and does not start with fewer."""
    for host in hosts if len(hosts) > 1 else ():
        ranks = host.rpartition(":")[2]
        if ranks != str(gpus_per_node):
            raise LaunchError(
                f"--hosts {host}: engine {engine} was compiled for machines of {gpus_per_node} GPUs: set "
                f"build.gpus_per_node = {ranks if ranks.isdigit() else 1} in its spec and build it again"
            )
