"""LoRA adapters of requests: only the engine's own, each for its own request."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from tests.build_scripts.adapters import write_adapter
from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import END, PROMPT, WAIT_S, drain, engine_config, generation, write_model
from tests.triton_repo.engines_under_test import engine_config as replay_config
from triton_repo.contract.engine_config import EngineConfig, Flow, LoraConfig, TensorRtLlmConfig
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.runtime import AdaptingRuntime, Generation
from triton_repo.engine.runtimes.tensorrt_llm.arguments import adapter_arguments, lora_arguments
from triton_repo.engine.runtimes.tensorrt_llm.runtime import TensorRtLlmRuntime

pytestmark = pytest.mark.usefixtures("tensorrt_llm")

LORA = LoraConfig(adapters=("french", "pirate"), max_rank=8, target_modules=("attn_q", "attn_k", "attn_v"))


def adapted(flow: Flow = "pytorch") -> EngineConfig:
    config = engine_config(tensorrt_llm=TensorRtLlmConfig(flow=flow, lora=LORA))
    return config.model_copy(update={"card": replace(config.card, adapters=LORA.adapters)})


def test_a_request_may_name_an_adapter_of_the_engine() -> None:
    request = parse_request({"input_ids": [5]}, {"lora_name": "pirate"}, adapted())
    assert request.sampling.lora_name == "pirate"


def test_another_name_is_rejected_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest) as rejected:
        parse_request({"input_ids": [5]}, {"lora_name": "german"}, adapted())
    assert str(rejected.value) == "lora_name = german: must be one of french, pirate"
    assert rejected.value.param == "lora_name"


@pytest.mark.parametrize("name", ["", "../french", "a" * 65, 7])
def test_what_is_no_name_is_rejected(name: object) -> None:
    with pytest.raises(InvalidRequest, match="lora_name"):
        parse_request({"input_ids": [5]}, {"lora_name": name}, adapted())


@pytest.mark.parametrize("config", [engine_config(), replay_config()])
def test_an_engine_without_adapters_never_ignores_a_name(config: EngineConfig) -> None:
    with pytest.raises(UnsupportedParameter, match="lora_name: this engine has no adapters"):
        parse_request({"input_ids": [5]}, {"lora_name": "french"}, config)


def test_tensorrt_llm_is_told_the_bounds_of_all_and_the_place_of_each() -> None:
    assert lora_arguments(LORA) == {
        "max_lora_rank": 8,
        "lora_target_modules": ["attn_q", "attn_k", "attn_v"],
        "max_loras": 2,
        "max_cpu_loras": 2,
    }
    assert adapter_arguments(Path("/e/model"), adapted()) == [
        {"lora_name": "french", "lora_int_id": 1, "lora_path": "/e/adapters/french"},
        {"lora_name": "pirate", "lora_int_id": 2, "lora_path": "/e/adapters/pirate"},
    ]
    assert adapter_arguments(Path("/e/model"), engine_config()) == []


def open_adapted(directory: Path, flow: Flow) -> TensorRtLlmRuntime:
    """An engine that was built with the adapters of LORA."""
    config = write_model(directory / "model") / "engine" / "config.json"
    settings = json.loads(config.read_text())
    settings["build_config"] |= {"lora_plugin": "auto", "max_lora_rank": 8}
    config.write_text(json.dumps(settings))
    for name in LORA.adapters:
        write_adapter(directory / "adapters" / name)
    runtime = open_runtime(directory, adapted(flow))
    assert isinstance(runtime, TensorRtLlmRuntime)
    return runtime


def in_adapter(key: int, name: str) -> Generation:
    return generation(key, sampling=Sampling(temperature=0.0, lora_name=name))


@pytest.mark.parametrize("flow", ["compiled", "pytorch"])
def test_each_request_gets_its_own_adapter_in_both_flows(flow: Flow, tmp_path: Path) -> None:
    runtime = open_adapted(tmp_path, flow)
    try:
        runtime.submit(generation(0))
        for key, adapter in enumerate(LORA.adapters, start=1):
            runtime.submit(in_adapter(key, adapter))
        deltas = drain(runtime, 0, 1, 2)
    finally:
        runtime.close()
    # The stand-in turns an answer by the adapter's number.
    for turn in range(3):
        assert ids_of(deltas, turn) == [*PROMPT[turn:], *PROMPT[:turn], END]


@pytest.mark.parametrize("flow", ["compiled", "pytorch"])
def test_an_adapter_that_is_loaded_later_has_a_number_that_no_other_has_had(flow: Flow, tmp_path: Path) -> None:
    """What one has left in the KV cache, which TensorRT-LLM knows by that number, is never another one's."""
    runtime = open_adapted(tmp_path, flow)
    assert isinstance(runtime, AdaptingRuntime)
    try:
        for number in (3, 4):
            add = runtime.open_adapter("german", write_adapter(tmp_path / f"german-{number}"))
            with pytest.raises(EngineUnavailable, match="the adapter german was unloaded"):
                runtime.submit(in_adapter(number, "german"))
            add()
            runtime.submit(in_adapter(number, "german"))
            assert ids_of(drain(runtime, number), number) == [*PROMPT[number:], *PROMPT[:number], END]
            runtime.close_adapter("german")
        with pytest.raises(EngineFailed, match="the engine cannot open the adapter broken"):
            runtime.open_adapter("broken", tmp_path / "broken")
        runtime.submit(in_adapter(9, "pirate"))
        assert ids_of(drain(runtime, 9), 9) == [*PROMPT[2:], *PROMPT[:2], END]
    finally:
        runtime.close()


@pytest.mark.parametrize("ends", ["closes", "is lost"])
def test_nothing_waits_for_an_adapter_of_an_engine_that_ends(
    ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, tried = open_adapted(tmp_path, "pytorch"), Event()

    async def hang(_: object) -> None:
        tried.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(runtime, "_try", hang)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(runtime.open_adapter, "german", write_adapter(tmp_path / "german"))
        assert tried.wait(WAIT_S)
        if ends == "is lost":
            runtime._lose(RuntimeError("the executor has died"))
            assert isinstance(opening.exception(WAIT_S), EngineFailed)
        runtime.close()
        assert isinstance(opening.exception(WAIT_S), EngineFailed)


def test_there_is_room_for_those_that_are_loaded_later() -> None:
    assert lora_arguments(LORA.model_copy(update={"max_loras": 5}))["max_loras"] == 5
