"""The `tensorrt_llm` runtime: compiled engines and the PyTorch flow, through TensorRT-LLM's LLM API.

The LLM API batches on threads and processes of its own, and its interface is asyncio. So a thread runs an event loop in
which every generation is a task that waits for its results; what arrives is queued, and the engine loop is woken to
collect it.

    engine loop:  submit, cancel  ->  event loop:  generate_async, abort
                  step            <-               deltas, failures
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.sampling import Sampling
from triton_repo.engine.runtimes.runtime import Generation, Load, TokenDelta, adapter_unloaded
from triton_repo.engine.runtimes.tensorrt_llm.health import background_error
from triton_repo.engine.runtimes.tensorrt_llm.requests import CANCELLED, Requests, WrongAnswer

logger = logging.getLogger(__name__)

_WATCH_PAUSE_S: Final = 0.5
_TRIAL_IDS: Final = (0, 0)  # the shortest prompt that speculation goes with


class TensorRtLlmRuntime:
    """Drives an `LLM` of either flow."""

    def __init__(self, llm: Any, requests: Requests) -> None:
        from tensorrt_llm.llmapi import RequestError

        self._llm = llm
        self._requests = requests
        # Errors of one request, if the executor still runs; anything else is the end of it.
        self._of_one_request = (RequestError, ValueError, TypeError)
        self._live: dict[int, bool] = {}  # key -> it has had a token
        self._wake: Callable[[], None] = lambda: None
        self._arrived: deque[TokenDelta] = deque()
        self._woken = False  # the engine loop knows that something has arrived
        self._lost: Exception | None = None
        self._closing = False
        self._last_work_s = float("-inf")
        # Of the event loop's thread alone:
        self._results: dict[int, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stats: Mapping[str, Any] = {}
        self._asked = False  # there has been a request: before the first one the LLM API has no statistics, and says so
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tensorrt-llm", daemon=True)
        self._thread.start()

    def on_arrival(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def submit(self, generation: Generation) -> None:
        try:
            adapter = self._requests.adapter_of(generation)
        except KeyError:
            raise adapter_unloaded(generation.sampling.lora_name) from None
        self._live[generation.key] = False
        self._loop.call_soon_threadsafe(self._begin, generation, adapter)

    def open_adapter(self, name: str, directory: Path) -> Callable[[], None]:
        """TensorRT-LLM loads an adapter with the first request that has it: one of a single token, here."""
        try:
            adapter = self._requests.make_adapter(name, directory)
            self._wait_for(asyncio.run_coroutine_threadsafe(self._try(adapter), self._loop))
        except Exception as error:  # the boundary of TensorRT-LLM: whether it goes on is watched elsewhere
            logger.error("TensorRT-LLM does not load adapter %s: %s", name, _first_line(error))
            raise EngineFailed(f"the engine cannot open the adapter {name}") from error
        return lambda: self._requests.adapters.update({name: adapter})

    def _wait_for(self, trial: Future[None]) -> None:
        """Raises what the trial raises, and what ends the executor, which ends no trial."""
        while not wait([trial], _WATCH_PAUSE_S).done:
            if self._lost is not None:
                raise self._lost.with_traceback(None)
        trial.result()

    def close_adapter(self, name: str) -> None:
        """What it holds of the adapter it drops when another one needs the room."""
        del self._requests.adapters[name]

    def cancel(self, key: int) -> None:
        if self._live.pop(key, None) is not None:
            self._loop.call_soon_threadsafe(self._abort, key)

    def step(self) -> Sequence[TokenDelta]:
        self._woken = False  # before the look at what has arrived: what arrives after it must wake again
        if self._lost is not None:
            raise self._lost.with_traceback(None)
        deltas = [self._arrived.popleft() for _ in range(len(self._arrived))]
        return [delta for delta in deltas if self._is_news(delta)]

    def idle_s(self) -> float | None:
        return 0 if self._arrived or self._lost is not None else None

    def last_work_s(self) -> float:
        return self._last_work_s

    def load(self) -> Load:
        running = sum(self._live.values())
        cache = self._stats.get("kvCacheStats") or {}
        blocks = cache.get("maxNumBlocks") or 0
        used = cache.get("usedNumBlocks", 0) / (blocks or 1) if self._live else 0.0
        return Load(running, len(self._live) - running, used, blocks, cache.get("tokensPerBlock") or 0)

    def close(self) -> None:
        self._live.clear()
        self._closing = True
        self._llm.shutdown()  # first: its threads post to the event loop
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _is_news(self, delta: TokenDelta) -> bool:
        """Whether the delta is of a live generation; tracks its first token and its end."""
        if delta.key not in self._live:
            return False  # cancelled before the LLM API knew
        if delta.finish_reason or delta.error is not None:
            del self._live[delta.key]
        else:
            self._live[delta.key] = True
        return True

    # On the event loop's thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._keep(self._watch())
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)  # trials of adapters too
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # an event loop itself only knows its tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _try(self, adapter: Any) -> None:
        generation = Generation(0, _TRIAL_IDS, 1, (), Sampling(temperature=0.0))
        async for _ in self._requests.start(self._llm, generation, adapter):
            pass

    def _begin(self, generation: Generation, adapter: Any) -> None:
        """Not a task, so that an `_abort` that was called later runs later."""
        self._asked = True
        with self._failing_alone(generation.key):
            result = self._requests.start(self._llm, generation, adapter)
            self._results[generation.key] = result
            self._keep(self._answer(generation, result))

    async def _answer(self, generation: Generation, result: Any) -> None:
        try:
            with self._failing_alone(generation.key):
                await self._follow(generation, result)
        finally:
            del self._results[generation.key]

    @contextmanager
    def _failing_alone(self, key: int) -> Iterator[None]:
        try:
            yield
        except self._of_one_request as error:
            logger.error("TensorRT-LLM fails a request: %s", _first_line(error))
            self._arrive(TokenDelta(key, error=EngineFailed("the engine failed on this request")))
            self._look_at_health()  # an event loop that dies fails the requests that wait as if they had
        except Exception as error:  # the boundary of the executor: without the executor no request goes on
            if self._lost is None:  # every request that waits gets the same error
                logger.exception("TensorRT-LLM's executor is lost")
            self._lose(error)

    async def _follow(self, generation: Generation, result: Any) -> None:
        async for output in result:
            if output.outputs[0].finish_reason == CANCELLED and generation.key not in self._live:
                return
            delta = self._requests.delta(generation, output)
            self._arrive(delta)
            if delta.finish_reason:
                return
        raise WrongAnswer("ended without a finish reason")

    def _abort(self, key: int) -> None:
        result = self._results.get(key)
        if result is not None:
            result.abort()

    def _arrive(self, delta: TokenDelta) -> None:
        self._arrived.append(delta)
        self._last_work_s = time.monotonic()
        self._wake_engine_loop()

    def _lose(self, error: Exception) -> None:
        self._lost = error
        self._wake_engine_loop()

    def _wake_engine_loop(self) -> None:
        if not self._woken:
            self._woken = True
            self._wake()

    async def _watch(self) -> None:
        """Keep the statistics of the latest iteration, of which there are none while no request runs.

        The death of a worker process is an entry in a queue of the LLM API's proxy, which that reads at the next
        request or response: requests that run would wait for ever.
        """
        failing = False
        while self._lost is None and not self._closing:
            if self._asked:
                failing = await self._collect_stats(failing)
            self._look_at_health()
            await asyncio.sleep(_WATCH_PAUSE_S)

    def _look_at_health(self) -> None:
        if self._lost is None and not self._closing and (error := background_error(self._llm)) is not None:
            logger.error("TensorRT-LLM's executor is lost: %s", _first_line(error))
            self._lose(error)

    async def _collect_stats(self, failing: bool) -> bool:
        """Whether it fails; `failing`: it did the last time too, and has been logged."""
        try:
            async for stats in self._llm.get_stats_async(timeout=_WATCH_PAUSE_S):
                self._stats = stats
                self._last_work_s = time.monotonic()
        except Exception:  # the boundary of the executor: without statistics the requests go on
            if not failing:
                logger.exception("TensorRT-LLM returns no statistics")
            return True
        return False


def _first_line(error: Exception) -> str:
    """TensorRT-LLM appends stack traces to its messages, and some of them quote the request."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
