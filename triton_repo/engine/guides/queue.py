"""Requests with a guide wait here until the guide is validated, so that no other request waits for that.

The library that is to enforce a guide parses it once before the engine gets the request: in the compiled flow
(TensorRT-LLM 1.2) a guide that it cannot parse fails the iteration of the whole batch. Parsing a hostile guide takes as
long as its parser allows, so one thread validates them, in the order of their arrival, and hands each request to the
engine loop. A request that is cancelled meanwhile is cancelled as it arrives there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import EngineUnavailable, InvalidRequest
from triton_repo.contract.sampling import GUIDE_FIELDS
from triton_repo.engine.guides.parser import GuideParser
from triton_repo.engine.loop.command_runner import shutting_down
from triton_repo.engine.loop.delivery import errors_sent_to, send_error
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.request import EngineRequest

# If all of them were hostile, the last would wait for two minutes; valid ones wait for milliseconds.
CAPACITY: Final = 64
# A server's schemas are few. Each is remembered with its text, all of them in 32 MiB at most.
MAX_REMEMBERED: Final = 128


class GuideValidator:
    """Parses each guide once. Used by one thread."""

    def __init__(self, parser: GuideParser, max_remembered: int = MAX_REMEMBERED) -> None:
        self._parser = parser
        # Errors are not remembered: a guide that took too long may have been parsed on a busy machine.
        self._validate_once = lru_cache(max_remembered)(self._validate)

    def validate(self, kind: str, guide: str) -> None:
        """
        Raises:
            InvalidRequest: the library cannot parse the guide.
            EngineFailed: the library is not installed.
        """
        self._validate_once(kind, guide)

    def close(self) -> None:
        self._parser.close()

    def _validate(self, kind: str, guide: str) -> None:
        error = self._parser.error_of(kind, guide)
        if error is not None:
            param = GUIDE_FIELDS[1]
            raise InvalidRequest(f"{param}: {self._parser.backend} cannot parse this {kind}: {error}", param)


def guide_validator(config: EngineConfig) -> GuideValidator:
    """For the engine's guides; where the engine has no backend for them, `check_guide` lets none through."""
    backend = config.tensorrt_llm and config.tensorrt_llm.guided_decoding_backend
    return GuideValidator(GuideParser(str(backend)))


class GuideQueue:
    """Every request is submitted here; those without a guide to validate pass at once. Any thread may call it."""

    def __init__(self, loop: EngineLoop, validator: GuideValidator, capacity: int = CAPACITY) -> None:
        self._loop = loop
        self._validator = validator
        self._capacity = capacity
        self._room = threading.Semaphore(capacity)
        self._thread = ThreadPoolExecutor(1, "guides")  # which starts with the first guide

    def submit(self, request_id: str, request: EngineRequest, sink: Sink, channel: str = "") -> None:
        """Hand over a request, see `EngineLoop.submit`.

        Raises:
            EngineUnavailable: too many wait, or the engine is shutting down.
        """
        kind, guide = request.sampling.guided_decoding_guide_type, request.sampling.guided_decoding_guide
        if kind is None or guide is None:  # `json` needs no guide
            self._loop.submit(request_id, request, sink, channel)
            return

        def validate() -> None:
            with errors_sent_to(request_id, sink):
                self._validator.validate(kind, guide)
                self._loop.submit(request_id, request, sink, channel)

        if not self._room.acquire(blocking=False):
            raise EngineUnavailable(f"guides: {self._capacity} requests already wait until theirs is validated")
        self._enqueue(validate).add_done_callback(lambda future: self._leave(request_id, sink, future))

    def close(self) -> None:
        """Fail what waits. A guide that is being parsed is waited for: its request is the loop's to end."""
        self._thread.shutdown(cancel_futures=True)
        self._validator.close()

    def _enqueue(self, validate: Callable[[], None]) -> Future[None]:
        try:
            return self._thread.submit(validate)
        except RuntimeError as error:  # it is shut down
            raise shutting_down() from error

    def _leave(self, request_id: str, sink: Sink, future: Future[None]) -> None:
        self._room.release()
        if future.cancelled():
            send_error(request_id, sink, shutting_down())
