"""The executor's side: a thread that steps all requests, and results that cumulate what it sends them."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tensorrt_llm.sampling_params import SamplingParams

FAILS_ON = 318  # a prompt that holds this token id fails once its first token has come
DIES_ON = 319  # … and this one takes the executor with it
STEP_S = 0.004


class RequestError(RuntimeError):
    """The error raised when the request is failed."""


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


def made_up_logprobs(token_id: int, num: int, compiled: bool) -> dict[int, Logprob]:
    """The compiled flow names the likeliest, and the one that was sampled; TRTLLMSampler that one alone."""
    own_rank = token_id % 3
    own = Logprob(-0.5 * (own_rank + 1), own_rank + 1 if compiled else 1)
    if not compiled:
        return {token_id: own}
    others = [3 + (token_id + offset) % 200 for offset in range(num + 2)]
    ranking = [other for other in others if other != token_id]
    ranking.insert(own_rank, token_id)
    named = {id: Logprob(-0.5 * (rank + 1), rank + 1) for rank, id in enumerate(ranking[:num])}
    return named if token_id in named else {**named, token_id: own}


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length", "timeout", "cancelled"] | None = None
    stop_reason: int | str | None = None
    logprobs: list[dict[int, Logprob]] = field(default_factory=list)
    _last_token_ids_len: int = field(default=0, init=False, repr=False)
    _last_logprobs_len: int = field(default=0, init=False, repr=False)

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self._last_token_ids_len :]

    @property
    def logprobs_diff(self) -> list[dict[int, Logprob]]:
        return self.logprobs[self._last_logprobs_len :]


@dataclass(frozen=True, slots=True)
class Response:
    token_ids: tuple[int, ...] = ()
    finish: Literal["", "END_ID", "STOP_WORDS", "LENGTH", "CANCELLED"] = ""
    error: Exception | None = None


class RequestOutput:
    def __init__(self, executor: Executor, prompt: list[int], params: SamplingParams, compiled: bool) -> None:
        self._executor = executor
        self._compiled = compiled
        self.prompt_token_ids = prompt
        self.sampling_params = params
        self.outputs = [CompletionOutput(0)]
        self.finished = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._queue: asyncio.Queue[Response] = asyncio.Queue()

    def abort(self) -> None:
        self._executor.abort(self)

    def put(self, response: Response) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._queue.put_nowait, response)

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        assert self._loop is not None, "The asyncio event loop was not present during initialization"
        response = await self._queue.get()
        if response.error is not None:
            self.finished = True
            raise response.error
        self._take(response)
        return self

    def _take(self, response: Response) -> None:
        output = self.outputs[0]
        output._last_token_ids_len = len(output.token_ids)
        output.token_ids.extend(response.token_ids)
        if self.sampling_params.logprobs and response.token_ids:
            num = self.sampling_params.logprobs
            output._last_logprobs_len = len(output.logprobs)
            output.logprobs += [made_up_logprobs(id, num, self._compiled) for id in response.token_ids]
        self.finished = bool(response.finish)
        reasons: dict[str, Any] = {"LENGTH": "length", "CANCELLED": "cancelled", "END_ID": "stop", "STOP_WORDS": "stop"}
        output.finish_reason = reasons.get(response.finish)
        if response.finish == "STOP_WORDS":
            output.stop_reason = output.token_ids[-1]
            if not self.sampling_params.include_stop_str_in_output:
                output.token_ids = output.token_ids[:-1]


@dataclass(slots=True, eq=False)
class Running:
    result: RequestOutput
    answer: list[int]
    generated: int = 0

    def next_response(self, keeps_end_id: bool, tokens: int) -> Response:
        """What one iteration yields, with candidates that are all accepted."""
        ids: tuple[int, ...] = ()
        for _ in range(tokens):
            response = self._next_token(keeps_end_id)
            ids += response.token_ids
            if response.finish:
                return Response(ids, response.finish)
        return Response(ids)

    def _next_token(self, keeps_end_id: bool) -> Response:
        """The answer's ids one by one, then the end id; under `min_tokens`, or without an end id, round and round."""
        answer, params = self.answer, self.result.sampling_params
        over = self.generated >= len(answer) and self.generated >= (params.min_tokens or 0) and params.end_id != -1
        token_id = params.end_id if over and params.end_id is not None else answer[self.generated % len(answer)]
        self.generated += 1
        if over:
            return Response(() if keeps_end_id else (token_id,), "END_ID")
        if token_id in (params.stop_token_ids or ()):
            return Response((token_id,), "STOP_WORDS")
        return Response((token_id,), "LENGTH" if self.generated == params.max_tokens else "")


class Executor:
    def __init__(self, max_batch_size: int, keeps_end_id: bool, tokens_per_step: int) -> None:
        self._max_batch_size = max_batch_size
        self._keeps_end_id = keeps_end_id
        self._tokens_per_step = tokens_per_step
        self._running: list[Running] = []
        self._lock = threading.Lock()
        self._open = True
        self._asked = False
        self._error_queue: queue.Queue[Exception] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, prompt: list[int], params: SamplingParams, streaming: bool, answer: list[int]) -> RequestOutput:
        assert streaming, "this stand-in only streams"
        self._asked = True
        result = RequestOutput(self, prompt, params, compiled=self._keeps_end_id)
        complaint = params.complaint()
        if complaint:
            result.put(Response(error=RequestError(complaint)))
        else:
            with self._lock:
                self._running.append(Running(result, answer))
        return result

    def abort(self, result: RequestOutput) -> None:
        with self._lock:
            self._running = [running for running in self._running if running.result is not result]
        result.put(Response(finish="CANCELLED"))

    def is_shutdown(self) -> bool:
        return not self._open

    def handle_background_error(self) -> None:
        """At the next request, and not before: the callback of a dead worker only puts its error into the queue."""
        if not self._error_queue.empty():
            error = self._error_queue.get()
            self._open = False
            raise error

    def shutdown(self) -> None:
        self._open = False
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def stats(self) -> AsyncIterator[dict[str, Any]]:
        if not self._asked:
            sys.stdout.write("Iteration statistics are not available yet.\n")
        elif self._running:
            yield {"kvCacheStats": {"usedNumBlocks": len(self._running), "maxNumBlocks": self._max_batch_size}}

    def _run(self) -> None:
        while self._open:
            with self._lock:
                for running in self._running[: self._max_batch_size]:
                    self._step(running)
            time.sleep(STEP_S)

    def _step(self, running: Running) -> None:
        prompt = running.result.prompt_token_ids
        if running.generated and DIES_ON in prompt:
            self._error_queue.put(ConnectionError("the worker process has died"))
            self._running = []  # their streams wait
        elif running.generated and FAILS_ON in prompt:
            self._end(running, Response(error=RequestError("Encountered an error in forwarding the request")))
        else:
            response = running.next_response(self._keeps_end_id, self._tokens_per_step)
            if response.finish:
                self._end(running, response)
            else:
                running.result.put(response)

    def _end(self, running: Running, response: Response) -> None:
        self._running = [one for one in self._running if one is not running]
        running.result.put(response)
