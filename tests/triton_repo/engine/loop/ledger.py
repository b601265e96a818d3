"""An engine loop that takes one turn at a time, on a clock of its own, and a ledger of what it owes to whom."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from unittest.mock import patch

from tests.triton_repo.engine.loop.running_loop import TEXT, request
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import EngineFailed, InvalidRequest, RequestError
from triton_repo.engine.loop import command_runner, loop
from triton_repo.engine.loop.commands import Close, Wake
from triton_repo.engine.loop.flush import FlushIntervals
from triton_repo.engine.loop.loop import MAX_FAILURES, EngineLoop, LoopSettings
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.loop.rows import RowSink, SharedSink
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import Generation, TokenDelta

FLUSH_S = 0.05


class Clock:
    """In place of the module `time`, so that a lease of seconds takes none."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@contextmanager
def clock() -> Iterator[Clock]:
    stopped = Clock()
    with patch.object(loop, "time", stopped), patch.object(command_runner, "time", stopped):
        yield stopped


class SteppedLoop(EngineLoop):
    """Takes a turn when it is told to."""

    def __init__(self, runtime: FaultyRuntime) -> None:
        self._begin, self._between = threading.Semaphore(0), threading.Semaphore(0)
        super().__init__(runtime, LoopSettings(FlushIntervals(FLUSH_S, FLUSH_S)), give_up=lambda: None)
        self._between.acquire()

    def turn(self) -> None:
        self._inbox.put(Wake())  # it waits for nothing
        self._begin.release()
        while not self._between.acquire(timeout=1):
            assert self._thread.is_alive(), "the engine is given up"

    def close(self, timeout_s: float = 60) -> None:
        self._inbox.put(Close())
        self._begin.release()
        super().close(timeout_s)

    def _turn(self) -> None:
        self._between.release()
        self._begin.acquire()
        super()._turn()

    @property
    def num_live(self) -> int:
        return len(self._live)

    def counts(self) -> tuple[int, int, int]:
        counters = self._live.count(self._runtime.load())
        return counters.finished, counters.cancelled, counters.failed


class FaultyRuntime(ReplayRuntime):
    """Fails as a whole, at one generation, or at the next submit, when it is told to."""

    def __init__(self) -> None:
        super().__init__(ReplayConfig(token_ids=TEXT))
        self.fails = self.rejects = False
        self.failing: set[int] = set()

    def submit(self, generation: Generation) -> None:
        if self.rejects:
            self.rejects = False
            raise EngineFailed("there is no room")
        super().submit(generation)

    def step(self) -> Sequence[TokenDelta]:
        if self.fails:
            self.fails = False
            raise RuntimeError("planted")
        failed = [TokenDelta(key, error=EngineFailed("this one alone")) for key in self.failing & self.keys]
        for delta in failed:
            self.cancel(delta.key)
        self.failing.clear()
        return [*failed, *super().step()]

    @property
    def keys(self) -> set[int]:
        return set(self._playing)


@dataclass
class Client(RecordingSink):
    """One that may lose a message."""

    loses: bool = False

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        if self.loses:
            self.loses = False
            raise RuntimeError("planted")
        super().send(emissions, final=final)


@dataclass
class Party:
    """A client's side of one request, or of one row; `shared` is the sink of its message if it is a row."""

    request: EngineRequest
    sink: Client
    shared: Client | None = None
    channel: Client | None = None


@dataclass
class Ledger:
    """What was asked of an engine, and what must hold of it after every turn."""

    clock: Clock
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.restart()

    # What may happen.

    def restart(self) -> None:
        """The engine ends, and another begins."""
        if hasattr(self, "engine"):
            self.close()
        self.runtime = FaultyRuntime()
        self.engine = SteppedLoop(self.runtime)
        self.open: list[Party] = []
        self.channels: dict[str, Client] = {}
        self.outcomes = {"finished": 0, "cancelled": 0, "failed": 0}
        self._failures = self._submitted = 0

    def submit(self, id: str, max_tokens: int, stream: bool, channel: str, stop: bool, *, num_rows: int = 1) -> None:
        """Of several rows each has the id and its number."""
        shared_sink = Client()
        shared = SharedSink(shared_sink, num_rows)
        for row in range(num_rows):
            name = f"{id}/{row}" if num_rows > 1 else id
            asked = request(max_tokens, stream=stream, stop=((TEXT[3], TEXT[4]),) if stop else ())
            self._submitted += 1  # the length of its prompt, which no other has
            asked = replace(asked, input_ids=range(self._submitted))
            party = Party(asked, Client(), shared_sink if num_rows > 1 else None)
            if channel in self.channels:
                party.channel = self.channels[channel]
            self.open.append(party)
            sink: Sink = party.sink if num_rows == 1 else _Row(party.sink, RowSink(shared, name))
            self.engine.submit(name, asked, sink, channel)

    def stop(self, name: str) -> None:
        self.engine.stop(name)

    def subscribe(self, name: str) -> None:
        if name not in self.channels:
            sink = Client()
            self.channels[name] = sink
            self.engine.subscribe(name, sink)

    def renew(self, name: str) -> None:
        self.engine.renew(name)

    def leave(self, number: int) -> None:
        """A client's connection breaks."""
        if self.open:
            self.open[number % len(self.open)].sink.gone = True

    def lose(self, number: int) -> None:
        """The next message to a client cannot be sent."""
        if self.open:
            party = self.open[number % len(self.open)]
            (party.channel or party.shared or party.sink).loses = True

    def fail(self, number: int) -> None:
        """One generation fails."""
        if self.runtime.keys:
            self.runtime.failing.add(sorted(self.runtime.keys)[number % len(self.runtime.keys)])

    def reject(self) -> None:
        self.runtime.rejects = True

    def crash(self) -> None:
        """The next step raises, though not so often in a row that the engine is given up."""
        if self._failures < MAX_FAILURES - 1:
            self.runtime.fails = True

    def turn(self, passes_s: float = 0.01) -> None:
        self.clock.now_s += passes_s
        self._failures = self._failures + 1 if self.runtime.fails else 0
        self.engine.turn()
        self.runtime.rejects = False
        self.check()

    def close(self) -> None:
        self.engine.close()
        self._settle()
        assert self.open == [], "every request has ended"
        assert all(sink.ends == 1 for sink in self.channels.values())

    # What must hold.

    def check(self) -> None:
        self._settle()
        assert self.engine.num_live == len(self.open)
        assert len(self.runtime.keys) == len(self.open), "the runtime works for those that are live, and for no other"
        assert self.engine.counts() == tuple(self.outcomes.values())
        self.channels = {name: sink for name, sink in self.channels.items() if not sink.ends}

    def quiet(self) -> None:
        """Turn until every request has ended by itself."""
        for _ in range(100):
            if not self.open:
                return
            self.turn(FLUSH_S)
        raise AssertionError(f"{len(self.open)} requests never end")

    def _settle(self) -> None:
        """Take those that have ended off the list, each with what it was sent."""
        ended = [party for party in self.open if party.sink.ends]
        self.open = [party for party in self.open if not party.sink.ends]
        for party in ended:
            self._check_answer(party)
            if party.shared is not None:
                rows_open = any(other.shared is party.shared for other in self.open)
                assert party.shared.ends == (not rows_open), "a message ends with the last of its rows"

    def _check_answer(self, party: Party) -> None:
        emissions = list(party.sink.emissions)
        if party.channel is not None:
            emissions += party.channel.emissions
        emissions = [one for one in emissions if one.prompt_tokens == len(party.request.input_ids)]
        ids = [id for one in emissions for id in one.output_ids[one.window_length :]]
        assert ids == [TEXT[place % len(TEXT)] for place in range(len(ids))], "nothing is missing or repeated"
        if party.sink.errors:
            [error] = party.sink.errors
            if not isinstance(error, InvalidRequest):  # else the id was in use: it was never live
                self.outcomes["failed"] += 1
            return
        reasons = [one.finish_reason for one in emissions if one.finish_reason]
        assert len(reasons) == 1, reasons
        self.outcomes["cancelled" if reasons == ["cancelled"] else "finished"] += 1
        if reasons == ["length"]:
            assert len(ids) == party.request.max_tokens


class _Row:
    """What a row is sent, and what becomes of it in the message that it shares."""

    def __init__(self, own: RecordingSink, row: RowSink) -> None:
        self._own, self._row = own, row

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        self._row.send(emissions, final=final)
        self._own.send(emissions, final=final)

    def end(self) -> None:
        self._row.end()
        self._own.end()

    def fail(self, error: RequestError) -> None:
        try:
            self._row.fail(error)
        finally:
            self._own.fail(error)  # if that was lost, the row is over all the same

    def abandoned(self) -> bool:
        return self._own.abandoned()


def happen(ledger: Ledger, chance: random.Random) -> None:
    """Something, and mostly a turn after it. `chance` alone decides."""
    number = chance.randrange(1000)
    id, channel = f"r{number % 7}", f"c{number % 3}"
    rows = chance.choice((1, 1, 1, 3))
    events: tuple[tuple[int, Callable[[], None]], ...] = (
        (30, lambda: ledger.submit(id, 1 + number % 9, number % 3 > 0, channel, number % 5 == 0, num_rows=rows)),
        (15, lambda: ledger.stop(chance.choice((id, id, f"{id}/{number % 3}", channel)))),
        (5, lambda: ledger.subscribe(channel)),
        (5, lambda: ledger.renew(channel)),
        (5, lambda: ledger.leave(number)),
        (3, lambda: ledger.fail(number)),
        (1, lambda: ledger.lose(number)),
        (1, ledger.reject),
        (1, ledger.crash),
        (34, lambda: None),
    )
    chance.choices([event for _, event in events], [weight for weight, _ in events])[0]()
    if chance.random() < 0.8:
        ledger.turn(chance.choice((0.0, 0.001, 0.01, FLUSH_S, 0.2, 3.0)))
