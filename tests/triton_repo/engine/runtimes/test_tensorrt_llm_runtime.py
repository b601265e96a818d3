"""The adapter over both of TensorRT-LLM's LLM APIs, on stand-ins that reject what the real ones reject."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fake_tensorrt_llm import importable
from tests.triton_repo.engine.loop.running_loop import AT_ONCE
from tests.triton_repo.engine.runtimes.deltas import ids_of
from tests.triton_repo.engine.runtimes.llm_api import (
    DIES,
    END,
    FAILS,
    FLOWS,
    GREEDY,
    OTHER_END,
    PROMPT,
    WAIT_S,
    collect,
    drain,
    engine_config,
    generation,
    write_model,
)
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.engine_config import TensorRtLlmConfig
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.loop.loop import EngineLoop, LoopSettings
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.runtime import Generation, Load, Runtime
from triton_repo.engine.runtimes.tensorrt_llm.runtime import TensorRtLlmRuntime


@pytest.fixture(params=FLOWS, ids=" ".join)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TensorRtLlmRuntime]:
    """The test closes it."""
    write_model(tmp_path / "model")
    version, flow = request.param
    with importable(version):
        config = engine_config(tensorrt_llm=TensorRtLlmConfig(flow=flow), enable_chunked_context=False)
        runtime = open_runtime(tmp_path, config)
        assert isinstance(runtime, TensorRtLlmRuntime)
        yield runtime


@pytest.fixture
def runtime(opened: TensorRtLlmRuntime) -> Iterator[TensorRtLlmRuntime]:
    yield opened
    opened.close()


def test_ids_come_one_by_one_and_the_end_id_is_among_them_in_both_flows(runtime: Runtime) -> None:
    runtime.submit(generation())
    deltas = drain(runtime, 1)
    assert ids_of(deltas, 1) == [*PROMPT, END]
    assert deltas[-1].finish_reason == "stop"
    assert len(deltas) == len(PROMPT) + 1


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


def test_a_rejected_request_fails_alone(runtime: Runtime) -> None:
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
    with pytest.raises((ConnectionError, RuntimeError), match="died"):
        drain(runtime, 1)
    assert runtime.idle_s() == 0
    for _ in range(3):
        with pytest.raises((ConnectionError, RuntimeError), match="died"):
            runtime.step()


def test_requests_that_run_fail_when_a_worker_dies_though_no_other_request_comes(runtime: Runtime) -> None:
    runtime.submit(generation(1, max_tokens=50, sampling=Sampling(temperature=0.0, min_tokens=40)))
    runtime.submit(generation(2, [10, DIES]))
    with pytest.raises((ConnectionError, RuntimeError), match=r"the worker process has died|Engine has died"):
        drain(runtime, 1, 2)


def test_a_worker_that_dies_while_nothing_runs_is_noticed(opened: TensorRtLlmRuntime) -> None:
    woken = threading.Event()
    opened.on_arrival(woken.set)
    opened._llm._executor.lose_worker()
    assert woken.wait(WAIT_S)
    with pytest.raises((ConnectionError, RuntimeError)):
        opened.step()
    opened.close()


def test_an_idle_runtime_asks_for_no_statistics(opened: TensorRtLlmRuntime, capfd: pytest.CaptureFixture[str]) -> None:
    """Before the first request the LLM API prints a line each time that it is asked."""
    time.sleep(1.2)
    opened.close()
    assert "not available yet" not in capfd.readouterr().out


class FlakyStats:
    """The statistics of an LLM, whose first collection fails."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    def get_stats_async(self, timeout: float) -> Any:
        if self._failed:
            return self._llm.get_stats_async(timeout=timeout)
        self._failed = True
        raise ConnectionError("the queue of statistics was closed")


def test_statistics_that_fail_once_are_collected_again(opened: TensorRtLlmRuntime) -> None:
    runtime = TensorRtLlmRuntime(
        FlakyStats(opened._llm), opened._requests
    )  # the stand-in that the other runtime has opened
    endless = Sampling(temperature=0.0, min_tokens=40)
    runtime.submit(generation(max_tokens=50, sampling=endless))
    deadline = time.monotonic() + WAIT_S
    key = 1
    while not runtime.load().kv_cache_utilization:
        assert time.monotonic() < deadline
        if any(delta.finish_reason for delta in runtime.step()):
            key += 1
            runtime.submit(generation(key, max_tokens=50, sampling=endless))
        time.sleep(0.001)
    runtime.close()


class EndsByItself:
    """An LLM that ends its answers after one token, which is no end id, and that has no statistics."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    async def generate_async(self, *_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        sequence = SimpleNamespace(finish_reason="stop", stop_reason=None, token_ids_diff=[10])
        yield SimpleNamespace(outputs=[sequence])

    def get_stats_async(self, timeout: float) -> Any:  # noqa: ARG002
        raise ConnectionError("there are no statistics")


def test_a_stop_without_any_end_id_ends_the_generation_and_not_the_executor(opened: TensorRtLlmRuntime) -> None:
    runtime = TensorRtLlmRuntime(EndsByItself(opened._llm), opened._requests)
    runtime.submit(Generation(1, PROMPT, 12, (), GREEDY))
    deltas = drain(runtime, 1)
    assert (ids_of(deltas, 1), deltas[-1].finish_reason) == ([10], "stop")
    runtime.close()


def test_a_cache_without_blocks_is_an_unused_one(opened: TensorRtLlmRuntime) -> None:
    runtime = TensorRtLlmRuntime(EndsByItself(opened._llm), opened._requests)
    runtime._stats = {"kvCacheStats": {"usedNumBlocks": 0, "maxNumBlocks": 0}}
    runtime.submit(generation())
    assert runtime.load() == Load(0, 1, 0.0)
    runtime.close()


def test_the_engine_loop_gives_up_an_executor_that_died(runtime: Runtime) -> None:
    given_up = threading.Event()
    sink = RecordingSink()
    loop = EngineLoop(runtime, LoopSettings(AT_ONCE), give_up=given_up.set)
    loop.submit("a", EngineRequest([10, DIES], 9, (END,), GREEDY, stream=True), sink)
    assert given_up.wait(WAIT_S)
    assert str(sink.errors[0]) == "the engine failed while this request was running"
    loop.close()


def test_the_engine_loop_wakes_for_what_arrives(opened: TensorRtLlmRuntime) -> None:
    sink = RecordingSink()
    loop = EngineLoop(opened, LoopSettings(AT_ONCE))
    loop.submit("a", EngineRequest(PROMPT, 9, (END,), GREEDY, stream=True), sink)
    deadline = time.monotonic() + WAIT_S
    while not sink.ends:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    loop.close()
    assert sink.ids == PROMPT
    assert sink.emissions[-1].generated == len(PROMPT) + 1
