"""What TensorRT-LLM, CUDA and Open MPI find in the environment, and that nothing loads them before."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fake_tensorrt_llm import Version, importable
from tests.triton_repo.engine.runtimes.llm_api import EARLIER, LATEST, engine_config, write_model
from triton_repo.contract.engine_config import TensorRtLlmConfig
from triton_repo.contract.placement.settings import Placement
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.tensorrt_llm.environment import environment_for
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_2 import V1_2
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_3 import V1_3

SETTINGS = TensorRtLlmConfig(flow="pytorch")
OF_A_JOB = {
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_UNIVERSE_SIZE": "8",
    "OMPI_MCA_orte_hnp_uri": "1;tcp://10.0.0.1:5",
    "ORTE_ROOT": "x",
    "PMIX_NAMESPACE": "prterun-1",
    "PMIX_HOSTNAME": "a-very-long-name.of.a.node.in.a.cluster",
    "PMI_RANK": "0",
}
KEPT = {
    "OMPI_MCA_coll_hcoll_enable": "0",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PMIX_MCA_gds": "hash",
    "OPAL_PREFIX": "/usr/local/mpi",
    "PMIX_PREFIX": "/opt/pmix",
    "CUDA_VISIBLE_DEVICES": "2,3",
    "TLLM_SPAWN_PROXY_PROCESS": "1",
    "PATH": "/bin",
}


def test_what_another_mpi_job_left_is_removed_and_settings_are_kept() -> None:
    found = environment_for(SETTINGS, V1_2, OF_A_JOB | KEPT, "node-0")
    assert found == KEPT | {"TRTLLM_NO_USAGE_STATS": "1"}


def test_open_mpi_gets_a_short_name_of_the_machine_where_it_needs_one() -> None:
    host = "ip-10-0-100-200.a-region.compute.internal"
    [name, again, other] = [environment_for(SETTINGS, V1_3, OF_A_JOB, one) for one in (host, host, "node-1")]
    assert name["PMIX_HOSTNAME"] == again["PMIX_HOSTNAME"] != other["PMIX_HOSTNAME"]
    assert len(name["PMIX_HOSTNAME"]) == 14


def test_statistics_of_use_are_sent_only_if_the_spec_says_so() -> None:
    sends = SETTINGS.model_copy(update={"usage_stats": True})
    assert "TRTLLM_NO_USAGE_STATS" not in environment_for(sends, V1_3, KEPT, "node-0")
    silenced = KEPT | {"TRTLLM_NO_USAGE_STATS": "1"}  # by the operator
    assert environment_for(sends, V1_3, silenced, "node-0")["TRTLLM_NO_USAGE_STATS"] == "1"


def test_no_module_imports_tensorrt_llm_before_an_engine_is_opened() -> None:
    """It starts CUDA and MPI as it is loaded, which then do not see what is set later."""
    modules = "opening", "runtime", "requests", "environment", "engine", "llm_api.v1_2", "llm_api.v1_3"
    imports = "; ".join(f"import triton_repo.engine.runtimes.tensorrt_llm.{name}" for name in modules)
    code = f"{imports}; import sys; print('tensorrt_llm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("version", [EARLIER, LATEST])
def test_the_environment_is_what_it_is_to_be_once_tensorrt_llm_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Version
) -> None:
    write_model(tmp_path / "model")
    monkeypatch.setenv("PMIX_RANK", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with importable(version):
        open_runtime(tmp_path, engine_config(tensorrt_llm=SETTINGS)).close()
        seen = import_module("tensorrt_llm._stand_in").ENVIRONMENT
    assert (seen["TRTLLM_NO_USAGE_STATS"], seen["CUDA_VISIBLE_DEVICES"]) == ("1", "2,3")
    assert "PMIX_RANK" not in seen


@pytest.mark.parametrize("version", [EARLIER, LATEST])
def test_the_gpus_of_an_engine_are_chosen_before_tensorrt_llm_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Version
) -> None:
    write_model(tmp_path / "model")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    for name in ("CUDA_DEVICE_ORDER", "TRTLLM_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # so that they are as before after the test
    with importable(version):
        open_runtime(tmp_path, engine_config(tensorrt_llm=SETTINGS, placement=Placement(gpus=((1,),)))).close()
        seen = import_module("tensorrt_llm._stand_in").ENVIRONMENT
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["TRTLLM_VISIBLE_DEVICES"]) == ("3", "3")
