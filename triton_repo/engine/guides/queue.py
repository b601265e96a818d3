"""Requests with a guide wait here until the guide is validated, so that no other request waits for that.

The library that is to enforce a guide proves it once before the engine gets the request: in the compiled flow
(TensorRT-LLM 1.2) and in OpenVINO's pipeline a guide that it cannot parse fails the iteration of the whole batch.
Proving a hostile guide takes as long as its limits allow, so one thread validates them, in the order of their arrival,
and hands each request to the engine loop. A request that is cancelled meanwhile is cancelled as it arrives there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import EngineUnavailable, InvalidRequest
from triton_repo.contract.sampling import GUIDE_FIELDS, Guide
from triton_repo.engine.guides.libraries import OPENVINO, has_to_prove
from triton_repo.engine.guides.proof import GuideProver
from triton_repo.engine.loop.command_runner import shutting_down
from triton_repo.engine.loop.delivery import errors_sent_to, send_error
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.request import EngineRequest

# If all of them were hostile, the last would wait for two minutes; valid ones wait for milliseconds.
CAPACITY: Final = 64
# A server's schemas are few. Each is remembered with its text, all of them in 32 MiB at most.
MAX_REMEMBERED: Final = 128
# Of CPU time. A schema of a kilobyte takes milliseconds, but a string of limited length 10 ms for each of its
# characters, where the vocabulary has 50,000 tokens.
OPENVINO_LIMIT_S: Final = 5.0


class GuideValidator:
    """Proves each guide once. Used by one thread."""

    def __init__(self, prover: GuideProver, max_remembered: int = MAX_REMEMBERED) -> None:
        self._prover = prover
        # Errors are not remembered: a guide that took too long may have been proved on a busy machine.
        self._validate_once = lru_cache(max_remembered)(self._validate)

    def has_to_prove(self, guide: Guide) -> bool:
        return has_to_prove(self._prover.library, guide)

    def validate(self, guide: Guide) -> Guide:
        """What the engine is to get of a guide.

        Raises:
            InvalidRequest: the library cannot enforce the guide.
            EngineFailed: the library is not installed.
        """
        return self._validate_once(guide)

    def close(self) -> None:
        self._prover.close()

    def _validate(self, guide: Guide) -> Guide:
        proof = self._prover.prove(guide)
        if proof.error is not None:
            param = GUIDE_FIELDS[1]
            text = f"{self._prover.library} cannot parse this {guide.kind}: {proof.error}"
            raise InvalidRequest(f"{param}: {text}", param)
        return proof.guide


def guide_validator(directory: Path, config: EngineConfig) -> GuideValidator:
    """For the engine's guides; where the engine has none, `check_guide` lets none through."""
    if config.runtime == OPENVINO:
        return GuideValidator(GuideProver(OPENVINO, str(directory), limit_s=OPENVINO_LIMIT_S, cpu_time=True))
    backend = config.tensorrt_llm and config.tensorrt_llm.guided_decoding_backend
    return GuideValidator(GuideProver(str(backend)))


class GuideQueue:
    """Every request is submitted here; those without a guide pass at once. Any thread may call it.

    Args:
        prepare: is called with what the engine is to get of a guide, before it gets it.
    """

    def __init__(
        self,
        loop: EngineLoop,
        validator: GuideValidator,
        capacity: int = CAPACITY,
        prepare: Callable[[Guide], None] = lambda _: None,
    ) -> None:
        self._loop = loop
        self._validator = validator
        self._prepare = prepare
        self._capacity = capacity
        self._room = threading.Semaphore(capacity)
        self._thread = ThreadPoolExecutor(1, "guides")  # which starts with the first guide

    def submit(self, request_id: str, request: EngineRequest, sink: Sink, channel: str = "") -> None:
        """Hand over a request, see `EngineLoop.submit`.

        Raises:
            EngineUnavailable: too many wait, or the engine is shutting down.
        """
        asked = request.sampling.guide
        if asked is None or not self._validator.has_to_prove(asked):
            self._loop.submit(request_id, request, sink, channel)
            return

        def validate() -> None:
            with errors_sent_to(request_id, sink):
                guide = self._validator.validate(asked)
                self._prepare(guide)
                guided = replace(request, sampling=request.sampling.guided_by(guide))
                self._loop.submit(request_id, guided, sink, channel)

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
