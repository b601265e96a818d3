"""Where requests with a guide wait until it is proved, so that no other request waits for that.

To read a hostile guide takes the time that its reader grants. So one thread proves them, in the order of their arrival,
and hands each to the engine's loop then. A stop that comes meanwhile reaches the loop first, which remembers it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from triton_repo.contract.errors import EngineUnavailable
from triton_repo.engine.guides.prover import GuideProver
from triton_repo.engine.loop.delivery import failing, refuse
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.request import EngineRequest

# Were all of them hostile, the last would wait for two minutes; proved ones wait for no time to speak of.
CAPACITY: Final = 64


class GuideDesk:
    """Every request comes by; those without a guide to prove pass at once. Any thread may call it."""

    def __init__(self, loop: EngineLoop, prover: GuideProver, capacity: int = CAPACITY) -> None:
        self._loop = loop
        self._prover = prover
        self._capacity = capacity
        self._room = threading.Semaphore(capacity)
        self._thread = ThreadPoolExecutor(1, "guides")  # which starts with the first guide

    def submit(self, request_id: str, request: EngineRequest, sink: Sink, channel: str = "") -> None:
        """Hand over a request, see `EngineLoop.submit`.

        Raises:
            EngineUnavailable: too many wait, or nothing is taken any more.
        """
        kind, guide = request.sampling.guided_decoding_guide_type, request.sampling.guided_decoding_guide
        if kind is None or guide is None:  # `json` needs no guide
            self._loop.submit(request_id, request, sink, channel)
            return

        def prove() -> None:
            with failing(request_id, sink):
                self._prover.prove(kind, guide)
                self._loop.submit(request_id, request, sink, channel)

        if not self._room.acquire(blocking=False):
            raise EngineUnavailable(f"guides: {self._capacity} requests already wait until theirs is proved")
        self._enter(prove).add_done_callback(lambda proof: self._leave(request_id, sink, proof))

    def close(self) -> None:
        """Fail what waits. The guide that is read just now is waited for: its request is the loop's to end."""
        self._thread.shutdown(cancel_futures=True)
        self._prover.close()

    def _enter(self, prove: Callable[[], None]) -> Future[None]:
        try:
            return self._thread.submit(prove)
        except RuntimeError as error:  # it is shut down
            raise _shutting_down() from error

    def _leave(self, request_id: str, sink: Sink, proof: Future[None]) -> None:
        self._room.release()
        if proof.cancelled():
            refuse(request_id, sink, _shutting_down())


def _shutting_down() -> EngineUnavailable:
    return EngineUnavailable("the engine is shutting down")
