"""The adapters that are loaded and unloaded while an engine serves: what it does to have those that its shelf lists."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest
from triton_repo.contract.health.adapter_shelf import ADAPTERS_VARIABLE, AdapterShelf
from triton_repo.contract.sampling import ADAPTER_FIELD
from triton_repo.engine.loop.command_runner import shutting_down
from triton_repo.engine.loop.delivery import errors_sent_to
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.runtimes.runtime import AdaptingRuntime, Runtime

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.1


class Adapters:
    """Those beside the ones that the engine was built with. Any thread may call it.

    Args:
        runtime: nothing uses it yet; those that are no longer new are opened at once.
        environ: says where the shelves are.
    """

    def __init__(self, config: EngineConfig, runtime: Runtime, environ: Mapping[str, str] = os.environ) -> None:
        shelves = environ.get(ADAPTERS_VARIABLE)
        self._shelf = AdapterShelf.of(Path(shelves), config.name) if shelves else None
        self._runtime = runtime
        self._built = config
        self._numbers: dict[str, int] = {}  # of those that are open, by name
        self._replaced: frozenset[str] = frozenset()
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, "adapters")  # which starts with the first order
        self._open_shelved()
        self.config = self._with(self._numbers)

    def check(self, name: str | None) -> None:
        """Raises: EngineUnavailable: another adapter is about to have this name."""
        if name in self._replaced:
            raise EngineUnavailable(f"{ADAPTER_FIELD} = {name}: the adapter is being replaced", ADAPTER_FIELD)

    def refresh(self, request_id: str, sink: Sink, loop: EngineLoop) -> None:
        """Have those that the shelf lists, and end the request when that is so.

        Raises:
            InvalidRequest: the engine takes none.
        """
        if self._shelf is None or not isinstance(self._runtime, AdaptingRuntime):
            raise InvalidRequest("this engine takes no adapters while it serves")
        shelf, runtime = self._shelf, self._runtime

        def work() -> None:
            with errors_sent_to(request_id, sink):
                self._follow(shelf, runtime, loop)
                sink.end()

        try:
            self._thread.submit(work)
        except RuntimeError as error:  # it is shut down
            raise shutting_down() from error

    def close(self) -> None:
        """Orders that wait fail. One that is being carried out is not waited for."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _open_shelved(self) -> None:
        if self._shelf is None or not isinstance(self._runtime, AdaptingRuntime):
            return
        for name, adapter in self._shelf.read().adapters.items():
            if adapter.is_new:
                continue
            try:
                self._runtime.open_adapter(name, self._shelf.directory(adapter.number))()
            except EngineFailed as error:
                self._log_absent(error)
                continue
            self._numbers[name] = adapter.number

    # On the thread of orders.

    def _follow(self, shelf: AdapterShelf, runtime: AdaptingRuntime, loop: EngineLoop) -> None:
        wanted = shelf.read()
        numbers = {name: adapter.number for name, adapter in wanted.adapters.items()}
        leaving = [name for name, number in self._numbers.items() if numbers.get(name) != number]
        self._replaced = frozenset(leaving) & numbers.keys()
        try:
            self.config = self._with({name: number for name, number in self._numbers.items() if name in numbers})
            for name in leaving:
                self._drop(name, wanted.grace_s, loop)
            for name in numbers.keys() - self._numbers.keys():
                try:
                    self._wait_for(loop.add_adapter(runtime.open_adapter(name, shelf.directory(numbers[name]))))
                    self._numbers[name] = numbers[name]
                except EngineFailed as error:
                    if wanted.adapters[name].is_new:
                        raise
                    self._log_absent(error)  # an order for another one is carried out all the same
        finally:
            self.config = self._with(self._numbers)
            self._replaced = frozenset()

    def _drop(self, name: str, grace_s: float, loop: EngineLoop) -> None:
        """Once its requests have ended, or fail after so long."""
        deadline_s = time.monotonic() + grace_s
        while not self._wait_for(loop.close_adapter(name, at_once=time.monotonic() >= deadline_s)):
            time.sleep(_POLL_S)
        del self._numbers[name]

    def _wait_for(self, done: Future[bool]) -> bool:
        while not self._closed.is_set():
            try:
                return done.result(_POLL_S)
            except TimeoutError:  # a step takes long
                continue
        raise shutting_down()

    def _log_absent(self, error: EngineFailed) -> None:
        logger.error("%s serves without an adapter: %s", self._built.name, error)

    def _with(self, names: Mapping[str, int]) -> EngineConfig:
        """The engine as a request may use it."""
        card = self._built.card
        return self._built.model_copy(update={"card": replace(card, adapters=(*card.adapters, *sorted(names)))})
