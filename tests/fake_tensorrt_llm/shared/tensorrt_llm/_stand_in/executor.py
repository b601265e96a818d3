"""The executor's side: a thread that steps all requests."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tensorrt_llm._stand_in.behaviour import DIES_ON, FAILS_ON, LOOP_DIES_ON, Behaviour, RequestError
from tensorrt_llm._stand_in.prefix_cache import PrefixCache
from tensorrt_llm._stand_in.results import RequestOutput, Response

STEP_S = 0.004


@dataclass(slots=True, eq=False)
class Running:
    result: RequestOutput
    answer: list[int]
    max_tokens: int
    priority: float
    cached_tokens: int
    generated: int = 0

    def next_response(self, behaviour: Behaviour) -> Response:
        """What one iteration yields, with candidates that are all accepted."""
        ids: tuple[int, ...] = ()
        for _ in range(behaviour.tokens_per_step):
            response = self._next_token(behaviour.hands_over_end_id)
            ids += response.token_ids
            if response.finish:
                return Response(ids, response.finish, cached_tokens=self.cached_tokens)
        return Response(ids, cached_tokens=self.cached_tokens)

    def _next_token(self, hands_over_end_id: bool) -> Response:
        """The answer's ids one by one, then the end id; under `min_tokens`, or without an end id, round and round."""
        answer, params = self.answer, self.result.sampling_params
        over = self.generated >= len(answer) and self.generated >= (params.min_tokens or 0) and params.end_id != -1
        token_id = params.end_id if over and params.end_id is not None else answer[self.generated % len(answer)]
        if params.embedding_bias is not None and params.embedding_bias.max() > 0:
            token_id = int(params.embedding_bias.argmax())
        self.generated += 1
        if over:
            return Response((token_id,) if hands_over_end_id else (), "END_ID")
        if token_id in (params.stop_token_ids or ()):
            return Response((token_id,), "STOP_WORDS")
        return Response((token_id,), "LENGTH" if self.generated == self.max_tokens else "")


class Executor:
    def __init__(self, max_batch_size: int, behaviour: Behaviour, dead: type[Exception], prefixes: PrefixCache) -> None:
        self._max_batch_size = max_batch_size
        self._behaviour = behaviour
        self._dead = dead
        self._prefixes = prefixes
        self._running: list[Running] = []
        self._lock = threading.Lock()
        self._open = True
        self._asked = False
        self.fatal: Exception | None = None
        self._error_queue: queue.Queue[Exception] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: list[int],
        params: Any,
        answer: list[int],
        complaint: str | None = None,
        max_tokens: int | None = None,
        priority: float = 0.5,
        salt: str | None = None,
    ) -> RequestOutput:
        """`complaint` is why the worker rejects the request."""
        self._asked = True
        result = RequestOutput(prompt, params, self._behaviour, self.abort)
        if complaint:
            result.put(Response(error=RequestError(complaint)))
            return result
        running = Running(result, answer, max_tokens or params.max_tokens, priority, self._prefixes.take(prompt, salt))
        with self._lock:
            self._running.append(running)
            if self._behaviour.by_priority:
                self._running.sort(key=lambda one: 0 if one.generated else 1 - one.priority)
        return result

    def abort(self, result: RequestOutput) -> None:
        with self._lock:
            self._running = [running for running in self._running if running.result is not result]
        result.put(Response(finish="CANCELLED"))

    def is_shutdown(self) -> bool:
        return not self._open

    def handle_background_error(self) -> None:
        """At the next request: the callback of a dead worker of 1.2 only puts its error into the queue."""
        if self.fatal is not None:
            raise self.fatal
        if not self._error_queue.empty():
            error = self._error_queue.get()
            self._open = False
            raise error

    def shutdown(self) -> None:
        self._open = False
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def lose_worker(self) -> None:
        """A worker process dies; `_lock` is held, or nothing runs."""
        if self._behaviour.tells_of_dead_worker:
            self.fatal = self._dead("Engine has died")
            for running in self._running:
                running.result.put(Response(error=self._dead("Engine has died")))
        else:
            self._error_queue.put(self._dead("the worker process has died"))
        self._running = []  # the streams of 1.2 wait

    def _lose_loop(self) -> None:
        for running in self._running:
            running.result.put(Response(error=RequestError("Event loop terminated with error: CUDA error")))
        self.fatal = RuntimeError("the event loop has terminated")
        self._running = []

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
            self.lose_worker()
        elif running.generated and LOOP_DIES_ON in prompt:
            self._lose_loop()
        elif running.generated and FAILS_ON in prompt:
            self._end(running, Response(error=RequestError("Encountered an error in forwarding the request")))
        elif running in self._running:
            response = running.next_response(self._behaviour)
            if response.finish:
                self._end(running, response)
            else:
                running.result.put(response)

    def _end(self, running: Running, response: Response) -> None:
        self._running = [one for one in self._running if one is not running]
        running.result.put(response)
