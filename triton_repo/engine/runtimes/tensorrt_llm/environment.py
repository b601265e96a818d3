"""The variables that TensorRT-LLM, CUDA and Open MPI read as they are loaded: to be set before that.

tritonserver may have been started by an MPI job. What it left in the environment is about that job, and the LLM API
starts one of its own; NVIDIA's Triton model for the LLM API removes the same
(triton_backend/all_models/llmapi/tensorrt_llm/1/model.py@044a90d2).
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from typing import Final

from triton_repo.contract.engine_config import EngineConfig, TensorRtLlmConfig
from triton_repo.contract.placement.gpus import cuda_environment
from triton_repo.engine.runtimes.tensorrt_llm.arguments import settings_of
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.contract import Contract

_OF_A_JOB: Final = re.compile(r"(OMPI|PMIX|PMI|ORTE)_")
_SETTING: Final = re.compile(r"(OMPI|PMIX)_MCA_(?!orte_|ess_)|OMPI_ALLOW_RUN_AS_ROOT|.*_PREFIX$")
_NO_USAGE_STATS: Final = "TRTLLM_NO_USAGE_STATS"
_HOST_NAME: Final = "PMIX_HOSTNAME"


def prepare_environment(config: EngineConfig, contract: Contract) -> None:
    """Of this process and of those that it starts."""
    wanted = environment_for(settings_of(config), contract, os.environ, socket.gethostname())
    wanted |= cuda_environment(config.name, config.placement.gpus_of(0), os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update({name: value for name, value in wanted.items() if os.environ.get(name) != value})


def environment_for(
    settings: TensorRtLlmConfig, contract: Contract, inherited: Mapping[str, str], host: str
) -> dict[str, str]:
    """The whole environment. TensorRT-LLM sends statistics of its use to NVIDIA unless it is told not to."""
    wanted = {name: value for name, value in inherited.items() if not _is_of_a_job(name)}
    if not settings.usage_stats:
        wanted[_NO_USAGE_STATS] = "1"
    if contract.short_host_name:
        wanted[_HOST_NAME] = f"n-{hashlib.sha256(host.encode()).hexdigest()[:12]}"
    return wanted


def _is_of_a_job(name: str) -> bool:
    return bool(_OF_A_JOB.match(name)) and not _SETTING.match(name)
