"""Loads adapters into engines, and unloads them, while these serve; one order at a time for each engine."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

from launch.health.engine_calls import EngineCalls
from launch.health.reports import EngineReports
from launch.serving.adapter_files import allowed_directory, write_adapter
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import LaunchError
from triton_repo.contract.health.adapter_shelf import AdapterShelf, Shelved, ShelvedAdapter
from triton_repo.contract.health.engine_states import LOADED, LOADING, UNLOADING
from triton_repo.contract.health.model_orders import Order, Outcome

_LOST: Final = "the engine was lost meanwhile"
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class AdaptableEngine:
    """`built`: the adapters that came with it; `room`: for so many in all."""

    directory: EngineDirectory
    built: tuple[str, ...] = ()
    room: int = 0


class AdapterControl:
    """
    Args:
        repositories: of the engines, by name.
        shelves: where those find their adapters.
        allowed: adapters lie below it; None: none may be loaded.
        settle_s: for every gateway to read what has become of an adapter, and to send the requests that it has.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it stands between
        self,
        repositories: Mapping[str, Path],
        shelves: Path,
        allowed: Path | None,
        calls: EngineCalls,
        reports: EngineReports,
        settle_s: float,
    ) -> None:
        self._engines = {name: _engine(repository) for name, repository in repositories.items()}
        self._shelves = shelves
        self._allowed = allowed
        self._calls = calls
        self._reports = reports
        self._settle_s = settle_s
        self._numbers = count(1)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def carry_out(self, order: Order) -> Outcome:
        engine = self._engines.get(order.engine)
        if engine is None:
            return Outcome(known=False, failure=f"there is no engine {order.engine}")
        if order.adapter in engine.built:
            rule = "the engine was built with it, and comes and goes with it (build.lora.adapters)"
            return Outcome(failure=rule, allowed=False)
        async with self._locks[order.engine]:
            shelf = AdapterShelf.of(self._shelves, order.engine)
            former = shelf.read()
            try:
                return await (self._load if order.verb == "load" else self._unload)(order, shelf, former)
            except OSError as error:
                await self._put_back(order, shelf, former)
                return Outcome(failure=f"the directory of this run cannot be written: {error.strerror}")
            finally:
                _remove_unlisted(shelf)

    async def _load(self, order: Order, shelf: AdapterShelf, former: Shelved) -> Outcome:
        engine = self._engines[order.engine]
        if (reason := self._no_room(engine, order, former)) is not None:
            return Outcome(failure=reason, fits=False)
        number = next(self._numbers)
        try:
            source = allowed_directory(self._allowed, order.path)
            await asyncio.to_thread(write_adapter, engine.directory, order.adapter, source, shelf.directory(number))
        except LaunchError as error:
            return Outcome(failure=str(error), allowed=False)
        return await self._replace(shelf, order, former, number)

    async def _replace(self, shelf: AdapterShelf, order: Order, former: Shelved, number: int) -> Outcome:
        """Have the engine serve with the adapter of that number, or with what it had before."""
        new = ShelvedAdapter(number, is_new=True)
        shelved = Shelved({**former.adapters, order.adapter: new}, order.grace_s)
        shelf.write(shelved)
        self._tell(order, former, None if order.adapter in former.adapters else LOADING)
        failure = await self._refresh(order.engine)
        if failure is not None:
            await self._put_back(order, shelf, former, is_lost=failure == _LOST)
            return Outcome(failure=failure)
        shelved = replace(shelved, adapters={**shelved.adapters, order.adapter: ShelvedAdapter(number)})
        shelf.write(shelved)
        self._tell(order, shelved, None)
        await asyncio.sleep(self._settle_s)
        return Outcome()

    async def _put_back(self, order: Order, shelf: AdapterShelf, former: Shelved, *, is_lost: bool = False) -> None:
        """As far as anything can be written. An engine that was lost looks at its shelf when it starts."""
        with suppress(OSError):
            shelf.write(former)
        if not is_lost:
            await self._refresh(order.engine)
        with suppress(OSError):
            self._tell(order, former, None)

    async def _unload(self, order: Order, shelf: AdapterShelf, former: Shelved) -> Outcome:
        """Requests that the gateways have sent go on; no others come."""
        if order.adapter not in former.adapters:
            return Outcome(known=False, failure=f"there is no adapter {order.adapter}")
        staying = {name: each for name, each in former.adapters.items() if name != order.adapter}
        shelved = Shelved(staying, order.grace_s)
        self._tell(order, former, UNLOADING)
        await asyncio.sleep(self._settle_s)
        shelf.write(shelved)
        failure = None if order.engine in self._reports.absent else await self._refresh(order.engine)
        self._tell(order, shelved, None)
        return Outcome(failure=None if failure == _LOST else failure)

    def _no_room(self, engine: AdaptableEngine, order: Order, shelved: Shelved) -> str | None:
        if order.engine in self._reports.absent:
            return "the engine is not loaded"
        held = {*engine.built, *shelved.adapters} - {order.adapter}
        if len(held) < engine.room:
            return None
        has = f"has {', '.join(sorted(held))}, and room for no more: unload one, or raise" if held else "needs"
        return f"the engine {has} build.lora.max_loras, the adapters that its spec reserves memory for"

    def _tell(self, order: Order, shelved: Shelved, state: str | None) -> None:
        """What is shelved is loaded, but for the adapter of the order, where that has a `state`."""
        states = dict.fromkeys(shelved.adapters, LOADED)
        self._reports.set_adapters(order.engine, {**states, order.adapter: state} if state else states)

    async def _refresh(self, engine: str) -> str | None:
        """Why the engine does not serve with the adapters on its shelf; None where it does."""
        lost = self._reports.times_lost(engine)
        call = asyncio.ensure_future(self._calls.refresh_adapters(engine))
        while not call.done():
            await asyncio.wait({call}, timeout=_POLL_S)
            if self._reports.times_lost(engine) != lost:  # Triton says nothing to the requests that it had
                return _LOST
        said = call.result()
        return _LOST if said is None else said or None


def _engine(repository: Path) -> AdaptableEngine:
    directory = EngineDirectory(repository.resolve().parent)
    if not directory.config_file.is_file():  # an encoder
        return AdaptableEngine(directory)
    card = EngineConfig.load(directory.path).card
    return AdaptableEngine(directory, card.adapters, card.room)


def _remove_unlisted(shelf: AdapterShelf) -> None:
    listed = {shelf.directory(each.number) for each in shelf.read().adapters.values()}
    for directory in shelf.path.glob("*/"):
        if directory not in listed:
            shutil.rmtree(directory, ignore_errors=True)
