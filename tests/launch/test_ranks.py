"""The command lines that start the ranks of a split engine."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from launch.ranks import RankOptions, rank_options, ranked_argv
from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract.engine_config import EngineConfig, Flow, TensorRtLlmConfig
from triton_repo.contract.errors import LaunchError

SERVER = ("/opt/tritonserver/bin/tritonserver", "--model-repository=/r")
SPOKEN = " ".join(SERVER)


# PYTHONPATH and OMPI_MCA_coll_hcoll_enable are not set.
ENVIRONMENT = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "OPAL_PREFIX": "/usr/local/mpi", "HOME": "/root"}


def split(tp: int = 4, pp: int = 2, gpus_per_node: int = 4, flow: Flow = "compiled", **fields: Any) -> EngineConfig:
    settings = TensorRtLlmConfig(flow=flow, tensor_parallel=tp, pipeline_parallel=pp, gpus_per_node=gpus_per_node)
    return engine_config(runtime="tensorrt_llm", tensorrt_llm=settings, **fields)


@pytest.mark.parametrize(
    ("options", "front"),
    [
        (RankOptions(), ""),
        (RankOptions("mpirun"), "mpirun --allow-run-as-root -n 8 trtllm-llmapi-launch "),
        (
            RankOptions("mpirun", ("pod-0:4", "pod-1:4"), "/app/kubessh"),
            "mpirun --allow-run-as-root -n 8 -mca plm_rsh_agent /app/kubessh --host pod-0:4,pod-1:4 -x PATH "
            "-x LD_LIBRARY_PATH -x OPAL_PREFIX trtllm-llmapi-launch ",
        ),
        (RankOptions("srun"), "srun --mpi=pmix --ntasks=8 --kill-on-bad-exit=1 trtllm-llmapi-launch "),
    ],
    ids=["single", "mpirun", "several machines", "srun"],
)
def test_a_rank_for_each_gpu_is_started_in_front_of_tritonserver(options: RankOptions, front: str) -> None:
    engine = split(gpus_per_node=4 if options.hosts else 8)
    assert shlex.join(ranked_argv(SERVER, options, [engine], ENVIRONMENT)) == front + SPOKEN


def test_only_one_engine_of_tensorrt_llm_can_have_its_ranks_started() -> None:
    one, other = split(gpus_per_node=8), split(gpus_per_node=8, name="other")
    for engines in ([one, other], [engine_config()]):
        with pytest.raises(LaunchError, match="starts the ranks of one engine of runtime tensorrt_llm, not of demo"):
            ranked_argv(SERVER, RankOptions("mpirun"), engines, {})
    assert ranked_argv(SERVER, RankOptions(), [one, engine_config()], {}) == SERVER


@pytest.mark.parametrize("options", [RankOptions(), RankOptions("mpirun"), RankOptions("mpirun", ("node-0:8",))])
def test_ranks_that_would_share_the_gpus_of_one_machine_are_rejected_with_the_key(options: RankOptions) -> None:
    cure = "was compiled for machines of 4 GPUs and has 8 ranks: name the machines .* or set build.gpus_per_node = 8 in"
    with pytest.raises(LaunchError, match=cure):
        ranked_argv(SERVER, options, [split(gpus_per_node=4)], ENVIRONMENT)
    assert ranked_argv(SERVER, options, [split(gpus_per_node=4, flow="pytorch")], ENVIRONMENT)


def test_machines_of_other_sizes_than_the_engine_was_compiled_for_are_rejected_with_the_key() -> None:
    options = RankOptions("mpirun", ("node-0:4", "node-1:4"))
    cure = "--hosts node-0:4: engine demo was compiled for machines of 8 GPUs: set build.gpus_per_node = 4 in its spec"
    with pytest.raises(LaunchError, match=cure):
        ranked_argv(SERVER, options, [split(gpus_per_node=8)], ENVIRONMENT)
    assert ranked_argv(SERVER, options, [split(gpus_per_node=8, flow="pytorch")], ENVIRONMENT)
    assert ranked_argv(SERVER, RankOptions("mpirun", ("node-0:8",)), [split(gpus_per_node=8)], ENVIRONMENT)


def test_a_path_with_blanks_is_rejected_where_a_shell_would_take_it_apart() -> None:
    argv = ("/opt/tritonserver", "--model-repository=/my engines")
    with pytest.raises(LaunchError, match="takes a command apart at blanks: '--model-repository=/my engines'"):
        ranked_argv(argv, RankOptions("srun"), [split()], {})


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("ssh", None, None), "--launcher = ssh; allowed: single, mpirun, srun"),
        (("single", "a:1", None), "--hosts and --rsh-agent: only with --launcher mpirun"),
        (("srun", None, "kubessh"), "--hosts and --rsh-agent: only with --launcher mpirun"),
    ],
)
def test_flags_that_do_not_go_together_are_rejected(flags: tuple[str, str | None, str | None], error: str) -> None:
    with pytest.raises(LaunchError, match=error):
        rank_options(*flags)


def test_flags_become_options() -> None:
    assert rank_options("mpirun", "a:4,b:4", None) == RankOptions("mpirun", ("a:4", "b:4"))
