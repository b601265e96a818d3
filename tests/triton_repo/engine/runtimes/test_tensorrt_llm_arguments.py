"""What settings and sampling are to TensorRT-LLM's LLM API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.triton_repo.engine.runtimes.llm_api import (
    END,
    FOUND,
    LATEST,
    engine_config,
    generation,
    write_model,
)
from triton_repo.contract.engine_config import TensorRtLlmConfig
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.tensorrt_llm.arguments import (
    kv_cache_arguments,
    llm_arguments,
    optional_arguments,
    sampling_arguments,
)
from triton_repo.engine.runtimes.tensorrt_llm.engine import Installed, engine_error
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.contract import Contract
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_2 import V1_2
from triton_repo.engine.runtimes.tensorrt_llm.llm_api.v1_3 import V1_3

pytestmark = pytest.mark.usefixtures("tensorrt_llm")


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=0.0, top_p=0.5, top_k=7, seed=3), {"top_k": 1}),
        (Sampling(temperature=0.5, top_k=-1, seed=-1), {"temperature": 0.5, "top_k": 0, "seed": 2**64 - 1}),
        (Sampling(top_k=5, seed=2**64 - 1), {"temperature": 1.0, "top_p": 1.0, "top_k": 5, "seed": 2**64 - 1}),
        (Sampling(temperature=0.1, min_p=0.2), {"min_p": 0.2, "top_k": 0, "top_p": 1.0}),
    ],
)
def test_sampling_is_said_as_tensorrt_llm_means_it(sampling: Sampling, expected: dict[str, Any]) -> None:
    arguments = sampling_arguments(generation(sampling=sampling), pad_id=END, least_logprobs=0)
    assert {name: arguments[name] for name in expected} == expected
    if sampling.temperature == 0:
        assert not {"temperature", "top_p", "seed", "min_p"} & set(arguments)


def test_without_a_seed_each_request_has_its_own() -> None:
    seeds = {sampling_arguments(generation(sampling=Sampling()), 0, 0)["seed"] for _ in range(8)}
    assert len(seeds) == 8


def test_settings_become_arguments_of_the_flow_that_has_them() -> None:
    settings = TensorRtLlmConfig(
        tensor_parallel=2, kv_cache_free_gpu_memory_fraction=0.5, max_tokens_in_paged_kv_cache=512
    )
    config = engine_config(tensorrt_llm=settings, enable_kv_cache_reuse=False)
    compiled = llm_arguments(Path("/e/model"), config)
    pytorch = llm_arguments(
        Path("/e/model"), config.model_copy(update={"tensorrt_llm": settings.model_copy(update={"flow": "pytorch"})})
    )
    assert (compiled["model"], pytorch["model"]) == ("/e/model/engine", "/e/model/checkpoint")
    assert set(pytorch) - set(compiled) == {"dtype"}
    assert compiled["tensor_parallel_size"] == 2
    assert kv_cache_arguments(config) == {
        "enable_block_reuse": False,
        "free_gpu_memory_fraction": 0.5,
        "max_tokens": 512,
        "host_cache_size": None,
    }


@pytest.mark.parametrize(("contract", "asked"), [(V1_2, [None, 1, 1, 5]), (V1_3, [None, 0, 1, 5])])
def test_logprobs_are_asked_for_by_the_number_of_their_alternatives(
    contract: Contract, asked: list[int | None]
) -> None:
    """0 is the sampled token alone, but where it is none at all."""
    given = [Sampling(logprobs=number) for number in (None, 0, 1, 5)]
    least = contract.least_logprobs
    assert [sampling_arguments(generation(sampling=one), END, least)["logprobs"] for one in given] == asked


def test_only_what_the_api_has_an_argument_for_is_handed_over() -> None:
    asked = generation(sampling=Sampling(priority=0.25, cache_salt="tenant-7"))
    assert optional_arguments(asked, ("priority", "cache_salt")) == {"priority": 0.25, "cache_salt": "tenant-7"}
    assert optional_arguments(asked, ("cache_salt",)) == {"cache_salt": "tenant-7"}
    assert optional_arguments(generation(sampling=Sampling()), ("priority", "cache_salt")) == {}


@pytest.mark.parametrize("version", ["1.2.0", "1.3.0rc15", "1.3.0rc25", "1.5.0"])
def test_a_tensorrt_llm_that_is_not_known_is_rejected_with_those_that_are(tmp_path: Path, version: str) -> None:
    model = write_model(tmp_path / "model")
    for flow in ("compiled", "pytorch"):
        error = engine_error(model, engine_config(tensorrt_llm={"flow": flow}), Installed(version, None))
        known = "1.2.1 (compiled engines and the PyTorch flow) or 1.3.0rc26 to 1.4 (the PyTorch flow)"
        assert (
            error
            == f"runs on TensorRT-LLM {known}, and this is {version}: serve it in one of the images of docs/gpu.md"
        )


def test_a_compiled_engine_needs_the_last_version_that_runs_one(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    latest = Installed(LATEST, "9.0")
    needs = "is a compiled one, which needs TensorRT-LLM 1.2.1, and this is 1.4.0rc1"
    assert str(engine_error(model, engine_config(), latest)).startswith(needs)
    assert engine_error(model, engine_config(tensorrt_llm={"flow": "pytorch"}), latest) is None


def test_an_engine_that_this_machine_cannot_run_is_rejected_in_one_sentence(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", version="1.2.1.post1", tp=2)
    config = engine_config()

    def error_of(found: Installed = FOUND) -> str | None:
        return engine_error(model, config, found)

    assert "needs TensorRT-LLM, which is not installed here" in str(error_of(Installed(None, "9.0")))
    assert "was compiled by TensorRT-LLM 1.2.1.post1, and this is 1.2.1: compile it again here" in str(error_of())
    assert error_of(Installed("1.2.1.post1", None)) is None
    (model / "engine" / "compiled_by.json").write_text(json.dumps({"capability": "8.9"}))
    assert "compute capability 8.9, and these are of 9.0" in str(error_of(Installed("1.2.1.post1", "9.0")))
    assert error_of(Installed("1.2.1.post1", "8.9")) is None
    (model / "engine" / "rank1.engine").unlink()
    assert "lacks rank1.engine" in str(error_of(Installed("1.2.1.post1", "8.9")))
    (model / "engine" / "config.json").unlink()
    assert "is not compiled yet" in str(error_of())
    with pytest.raises(LaunchError, match="engine tiny is not compiled yet"):
        open_runtime(tmp_path, config)
