"""The adapter over TensorRT-LLM's LLM API, on a stand-in that refuses what the real one refuses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fake_tensorrt_llm import PATH
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.engine.config import EngineConfig, TensorRtLlmConfig
from triton_repo.engine.loop import EngineLoop
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtime import AsynchronousRuntime, Generation, Runtime, TokenDelta
from triton_repo.engine.runtimes import open_runtime
from triton_repo.engine.tensorrt_llm_arguments import kv_cache_arguments, llm_arguments, sampling_arguments
from triton_repo.engine.tensorrt_llm_engine import Installed, engine_complaint
from triton_repo.errors import LaunchError
from triton_repo.logprobs import TokenLogprob
from triton_repo.sampling import Sampling
from triton_repo.tensors import ModelCard

END, OTHER_END = 1, 2
PROMPT = [10, 11, 12, 13, 14]
FAILS, DIES = 318, 319  # token ids that the stand-in fails on
GREEDY = Sampling(temperature=0.0)
WAIT_S = 20
FOUND = Installed("1.2.1", "9.0")


@pytest.fixture(autouse=True)
def tensorrt_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PATH)


def engine_config(**settings: Any) -> EngineConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "runtime": "tensorrt_llm",
        "max_seq_len": 64,
        "max_batch_size": 16,
        "max_num_tokens": 64,
        "vocab_size": 258,
        "eos_token_ids": (END,),
        "dtype": "float16",
        "kv_cache_dtype": "float16",
        "max_tokens_in_paged_kv_cache": 1024,
        "tensorrt_llm": TensorRtLlmConfig(),
        "card": ModelCard(64, "tensorrt_llm", 0, False, "tiny"),
    }
    return EngineConfig.model_validate({**values, **settings})


def write_model(model: Path, version: str = "1.2.1", tp: int = 1, pp: int = 1) -> Path:
    """The model directory of a built engine: a compiled engine and, for the other flow, a checkpoint."""
    engine, checkpoint = model / "engine", model / "checkpoint"
    engine.mkdir(parents=True)
    checkpoint.mkdir()
    mapping = {"world_size": tp * pp, "tp_size": tp, "pp_size": pp}
    config = {"version": version, "pretrained_config": {"mapping": mapping}, "build_config": {"max_seq_len": 64}}
    (engine / "config.json").write_text(json.dumps(config))
    for rank in range(tp * pp):
        (engine / f"rank{rank}.engine").write_bytes(b"")
    (checkpoint / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    return model


@pytest.fixture(params=["compiled", "pytorch"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    """Whoever has it closes it."""
    write_model(tmp_path / "model")
    settings = TensorRtLlmConfig(flow=request.param)
    return open_runtime(tmp_path, engine_config(tensorrt_llm=settings, enable_chunked_context=False))


@pytest.fixture
def runtime(opened: Runtime) -> Iterator[Runtime]:
    yield opened
    opened.close()


def collect(runtime: Runtime, until: Callable[[Sequence[TokenDelta]], bool]) -> list[TokenDelta]:
    """Step whenever the runtime says that something has arrived, as the engine loop does."""
    assert isinstance(runtime, AsynchronousRuntime)
    woken = threading.Event()
    runtime.on_arrival(woken.set)
    deltas: list[TokenDelta] = []
    deadline = time.monotonic() + WAIT_S
    while not until(deltas):
        if runtime.idle_s() is None:
            assert woken.wait(deadline - time.monotonic()), deltas
        woken.clear()
        deltas += runtime.step()
    return deltas


def drain(runtime: Runtime, *keys: int) -> list[TokenDelta]:
    return collect(runtime, lambda deltas: all(ended(deltas, key) for key in keys))


def ended(deltas: Sequence[TokenDelta], key: int) -> bool:
    return any(delta.key == key and (delta.finish_reason or delta.error) for delta in deltas)


def ids_of(deltas: Sequence[TokenDelta], key: int) -> list[int]:
    return [id for delta in deltas if delta.key == key for id in delta.token_ids]


def generation(
    key: int = 1, prompt: Sequence[int] = PROMPT, max_tokens: int = 20, sampling: Sampling = GREEDY
) -> Generation:
    return Generation(key, prompt, max_tokens, (END, OTHER_END), sampling)


def test_ids_come_one_by_one_and_the_end_id_is_among_them_in_both_flows(runtime: Runtime) -> None:
    runtime.submit(generation())
    deltas = drain(runtime, 1)
    assert ids_of(deltas, 1) == [*PROMPT, END]
    assert deltas[-1].finish_reason == "stop"
    assert len(deltas) == len(PROMPT) + 1


def logprobs_of(deltas: Sequence[TokenDelta]) -> list[TokenLogprob]:
    return [of for delta in deltas for of in delta.logprobs]


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_the_compiled_flow_names_alternatives_and_the_token_itself_need_not_be_one(tmp_path: Path, asked: int) -> None:
    write_model(tmp_path / "model")
    settings = TensorRtLlmConfig(gather_generation_logits=True)
    runtime = open_runtime(tmp_path, engine_config(tensorrt_llm=settings))
    runtime.submit(generation(sampling=Sampling(temperature=0.0, logprobs=asked)))
    deltas = drain(runtime, 1)
    runtime.close()
    listed = logprobs_of(deltas)
    assert len(listed) == len(PROMPT), "all but the end id, which this flow keeps to itself"
    assert [of.logprob for of in listed] == [-0.5 * (id % 3 + 1) for id in PROMPT]
    assert [[logprob for _, logprob in of.top] for of in listed] == [[-0.5, -1.0, -1.5][:asked]] * len(PROMPT)
    for id, of in zip(PROMPT, listed, strict=True):
        assert (id in dict(of.top)) == (id % 3 < asked)


def test_the_pytorch_flow_knows_the_logprob_of_each_token(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    runtime = open_runtime(tmp_path, engine_config(tensorrt_llm=TensorRtLlmConfig(flow="pytorch")))
    runtime.submit(generation(sampling=Sampling(temperature=0.0, logprobs=0)))
    deltas = drain(runtime, 1)
    runtime.close()
    assert logprobs_of(deltas) == [TokenLogprob(-0.5 * (id % 3 + 1), []) for id in [*PROMPT, END]]


def test_without_kept_logits_the_compiled_flow_fails_that_request_alone(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    runtime = open_runtime(tmp_path, engine_config())
    runtime.submit(generation(key=1, sampling=Sampling(temperature=0.0, logprobs=0)))
    runtime.submit(generation(key=2))
    deltas = drain(runtime, 1, 2)
    runtime.close()
    assert [delta.error is not None for delta in deltas if delta.key == 1] == [True]
    assert ids_of(deltas, 2) == [*PROMPT, END]
    assert logprobs_of(deltas) == []


def test_max_tokens_ends_with_length(runtime: Runtime) -> None:
    runtime.submit(generation(max_tokens=3))
    deltas = drain(runtime, 1)
    assert (ids_of(deltas, 1), deltas[-1].finish_reason) == (PROMPT[:3], "length")


def test_a_second_end_id_ends_too_and_is_not_taken_back(runtime: Runtime) -> None:
    runtime.submit(generation(prompt=[10, 11, OTHER_END, 12]))
    deltas = drain(runtime, 1)
    assert (ids_of(deltas, 1), deltas[-1].finish_reason) == ([10, 11, OTHER_END], "stop")


def test_without_end_ids_only_max_tokens_ends(runtime: Runtime) -> None:
    runtime.submit(Generation(1, PROMPT, 12, (), GREEDY))
    assert len(ids_of(drain(runtime, 1), 1)) == 12


def test_under_min_tokens_a_second_end_id_does_not_end(runtime: Runtime) -> None:
    sampling = Sampling(temperature=0.0, min_tokens=8)
    runtime.submit(generation(prompt=[10, OTHER_END, 12], sampling=sampling))
    ids = ids_of(drain(runtime, 1), 1)
    assert len(ids) == 9
    assert ids[-1] == END


def test_sixteen_at_a_time_do_not_mix(runtime: Runtime) -> None:
    prompts = {key: [key * 10, key * 10 + 1, key * 10 + 2] for key in range(1, 17)}
    for key, prompt in prompts.items():
        runtime.submit(generation(key, prompt))
    deltas = drain(runtime, *prompts)
    assert {key: ids_of(deltas, key) for key in prompts} == {key: [*prompt, END] for key, prompt in prompts.items()}


def test_a_failing_request_fails_alone(runtime: Runtime) -> None:
    runtime.submit(generation(1))
    runtime.submit(generation(2, [10, FAILS]))
    runtime.submit(generation(3))
    deltas = drain(runtime, 1, 2, 3)
    assert [str(delta.error) for delta in deltas if delta.error] == ["the engine failed on this request"]
    assert ids_of(deltas, 1) == ids_of(deltas, 3) == [*PROMPT, END]


def test_a_refused_request_fails_alone(runtime: Runtime) -> None:
    runtime.submit(generation(1, [10] * 70))
    runtime.submit(generation(2))
    deltas = drain(runtime, 1, 2)
    assert [delta.key for delta in deltas if delta.error] == [1]


def test_nothing_comes_after_a_cancel_and_the_executor_is_free_again(runtime: Runtime) -> None:
    endless = Sampling(temperature=0.0, min_tokens=40)
    for key in range(1, 17):
        runtime.submit(generation(key, max_tokens=50, sampling=endless))
    collect(runtime, lambda deltas: len({delta.key for delta in deltas}) == 16)
    assert runtime.load().running == 16
    for key in range(1, 17):
        runtime.cancel(key)
    runtime.submit(generation(17))
    deltas = drain(runtime, 17)
    assert {delta.key for delta in deltas} == {17}
    assert runtime.load().running == runtime.load().waiting == 0


def test_a_cancel_right_behind_the_submit_is_not_lost(runtime: Runtime) -> None:
    runtime.submit(generation(1))
    runtime.cancel(1)
    runtime.cancel(2)
    runtime.submit(generation(3))
    assert {delta.key for delta in drain(runtime, 3)} == {3}


def test_an_executor_that_dies_makes_every_step_fail(runtime: Runtime) -> None:
    runtime.submit(generation(1, [10, DIES]))
    with pytest.raises(ConnectionError):
        drain(runtime, 1)
    assert runtime.idle_s() == 0
    for _ in range(3):
        with pytest.raises(ConnectionError):
            runtime.step()


def test_the_engine_loop_gives_up_an_executor_that_died(runtime: Runtime) -> None:
    given_up = threading.Event()
    sink = RecordingSink()
    loop = EngineLoop(runtime, 0.0, give_up=given_up.set)
    loop.submit("a", EngineRequest([10, DIES], 9, (END,), GREEDY, stream=True), sink)
    assert given_up.wait(WAIT_S)
    assert str(sink.errors[0]) == "the engine failed while this request was running"


def test_the_engine_loop_wakes_for_what_arrives(opened: Runtime) -> None:
    sink = RecordingSink()
    loop = EngineLoop(opened, 0.0)
    loop.submit("a", EngineRequest(PROMPT, 9, (END,), GREEDY, stream=True), sink)
    deadline = time.monotonic() + WAIT_S
    while not sink.ends:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    loop.close()
    assert sink.ids == PROMPT
    assert sink.emissions[-1].generated == len(PROMPT) + 1


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
    arguments = sampling_arguments(generation(sampling=sampling), pad_id=END)
    assert {name: arguments[name] for name in expected} == expected
    if sampling.temperature == 0:
        assert not {"temperature", "top_p", "seed", "min_p"} & set(arguments)


def test_without_a_seed_each_request_has_its_own() -> None:
    seeds = {sampling_arguments(generation(sampling=Sampling()), 0)["seed"] for _ in range(8)}
    assert len(seeds) == 8


def test_settings_become_arguments_of_the_flow_that_has_them() -> None:
    settings = TensorRtLlmConfig(
        tensor_parallel=2, kv_cache_free_gpu_memory_fraction=0.5, max_tokens_in_paged_kv_cache=512
    )
    config = engine_config(tensorrt_llm=settings, enable_kv_cache_reuse=False)
    compiled = llm_arguments(Path("/m"), config)
    pytorch = llm_arguments(
        Path("/m"), config.model_copy(update={"tensorrt_llm": settings.model_copy(update={"flow": "pytorch"})})
    )
    assert (compiled["model"], pytorch["model"]) == ("/m/engine", "/m/checkpoint")
    assert set(pytorch) - set(compiled) == {"dtype", "enable_iter_perf_stats", "sampler_type"}
    assert compiled["tensor_parallel_size"] == 2
    assert kv_cache_arguments(config) == {
        "enable_block_reuse": False,
        "free_gpu_memory_fraction": 0.5,
        "max_tokens": 512,
        "host_cache_size": None,
    }


def test_an_engine_that_this_machine_cannot_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", version="1.2.0", tp=2)
    config = engine_config()

    def said(found: Installed = FOUND) -> str | None:
        return engine_complaint(model, config, found)

    assert "needs TensorRT-LLM, which is not installed here" in str(said(Installed(None, "9.0")))
    assert "was compiled by TensorRT-LLM 1.2.0, and this is 1.2.1: compile it again here" in str(said())
    assert said(Installed("1.2.0", None)) is None
    (model / "engine" / "compiled_by.json").write_text(json.dumps({"capability": "8.9"}))
    assert "compute capability 8.9, and these are of 9.0" in str(said(Installed("1.2.0", "9.0")))
    assert said(Installed("1.2.0", "8.9")) is None
    (model / "engine" / "rank1.engine").unlink()
    assert "lacks rank1.engine" in str(said(Installed("1.2.0", "8.9")))
    (model / "engine" / "config.json").unlink()
    assert "is not compiled yet" in str(said())
    with pytest.raises(LaunchError, match="engine tiny is not compiled yet"):
        open_runtime(tmp_path, config)
