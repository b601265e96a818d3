"""Requests with a guide wait until it is validated, and no other does; each ends exactly once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from tests.fake_tensorrt_llm import GUIDE_LIBRARIES
from tests.triton_repo.engine.guides.gated_prover import GatedProver
from tests.triton_repo.engine.loop.running_loop import AT_ONCE, TEXT, WAIT_S, engine_loop, eventually, request
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, RequestError, from_wire
from triton_repo.contract.sampling import GuideType, Sampling
from triton_repo.engine.guides.proof import GuideProver
from triton_repo.engine.guides.queue import GuideQueue, GuideValidator
from triton_repo.engine.loop.loop import EngineLoop, LoopSettings
from triton_repo.engine.loop.rows import RowSink, SharedSink
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.replay import ReplayRuntime


def guided(guide: str | None, kind: GuideType = "regex") -> EngineRequest:
    return replace(request(4), sampling=Sampling(guided_decoding_guide_type=kind, guided_decoding_guide=guide))


@contextmanager
def guide_queue(loop: EngineLoop, prover: GuideProver, capacity: int = 64) -> Iterator[GuideQueue]:
    queue = GuideQueue(loop, GuideValidator(prover), capacity)
    try:
        yield queue
    finally:
        queue.close()


@pytest.fixture
def loop() -> Iterator[EngineLoop]:
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        yield loop


@pytest.fixture
def prover() -> Iterator[GatedProver]:
    prover = GatedProver()
    yield prover
    prover.gate.set()


@pytest.fixture
def queue(loop: EngineLoop, prover: GatedProver) -> Iterator[GuideQueue]:
    with guide_queue(loop, prover, capacity=3) as queue:
        yield queue
        prover.gate.set()


def rejection(sink: RecordingSink) -> RequestError:
    [error] = sink.errors
    assert (sink.ends, sink.messages) == (1, [])
    return error


def test_requests_without_a_guide_to_prove_are_answered_while_one_is_read(
    queue: GuideQueue, prover: GatedProver
) -> None:
    hostile, unguided, plain_json = RecordingSink(), RecordingSink(), RecordingSink()
    queue.submit("a", guided("bad"), hostile)
    eventually(lambda: prover.proved == ["bad"])
    queue.submit("b", request(4), unguided)
    queue.submit("c", guided(None, "json"), plain_json)
    eventually(lambda: unguided.ends == plain_json.ends == 1)
    assert (unguided.ids, plain_json.ids, hostile.ends) == ([*TEXT[:4]], [*TEXT[:4]], 0)
    prover.gate.set()
    eventually(lambda: hostile.ends == 1)
    assert isinstance(rejection(hostile), InvalidRequest)
    assert rejection(hostile).message == "guided_decoding_guide: xgrammar cannot parse this regex: no regex"


class OrderedSink(RecordingSink):
    """Notes its name where the ends of all are noted."""

    def __init__(self, name: str, order: list[str]) -> None:
        super().__init__()
        self._name, self._order = name, order

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        super().send(emissions, final=final)
        self._order += [self._name] * final

    def fail(self, error: RequestError) -> None:
        super().fail(error)
        self._order.append(self._name)


def test_a_guide_that_hangs_its_library_ends_behind_a_later_request_without_one(
    loop: EngineLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(GUIDE_LIBRARIES)
    order: list[str] = []
    hostile, behind, unguided = (OrderedSink(name, order) for name in ("hostile", "behind", "unguided"))
    with guide_queue(loop, GuideProver("xgrammar")) as queue:
        queue.submit("a", guided("hangs"), hostile)
        queue.submit("b", guided("a+"), behind)
        queue.submit("c", request(4), unguided)
        eventually(lambda: len(order) == 3)
    assert order == ["unguided", "hostile", "behind"]
    assert rejection(hostile).message.endswith("parsing it takes longer than 2 s")
    assert behind.ids == [*TEXT[:4]]


def test_requests_with_a_guide_come_to_the_engine_in_their_order(queue: GuideQueue, prover: GatedProver) -> None:
    order: list[str] = []
    sinks = [OrderedSink(name, order) for name in "abc"]
    for sink, name in zip(sinks, "abc", strict=True):
        queue.submit(name, guided(name), sink)
    prover.gate.set()
    eventually(lambda: len(order) == 3)
    assert (order, prover.proved) == (["a", "b", "c"], ["a", "b", "c"])


def test_more_than_the_queue_has_room_for_are_rejected_and_room_comes_back(
    queue: GuideQueue, prover: GatedProver
) -> None:
    sinks = [RecordingSink() for _ in range(3)]
    for number, sink in enumerate(sinks):
        queue.submit(str(number), guided("bad" * number or "good"), sink)
    with pytest.raises(EngineUnavailable, match="guides: 3 requests already wait until theirs is validated"):
        queue.submit("d", guided("good"), RecordingSink())
    prover.gate.set()
    eventually(lambda: [sink.ends for sink in sinks] == [1, 1, 1])

    def taken() -> bool:
        with suppress(EngineUnavailable):  # they are answered a moment before they leave
            queue.submit("d", guided("good"), late)
            return True
        return False

    late = RecordingSink()
    eventually(taken)
    eventually(lambda: late.ends == 1)
    assert late.ids == [*TEXT[:4]]


def test_a_stop_that_overtakes_the_proof_ends_the_request_as_cancelled(
    queue: GuideQueue, prover: GatedProver, loop: EngineLoop
) -> None:
    stopped, rejected, other = RecordingSink(), RecordingSink(), RecordingSink()
    queue.submit("a", guided("good"), stopped)
    queue.submit("b", guided("bad"), rejected)
    queue.submit("c", guided("good"), other)
    loop.stop("a")
    loop.stop("b")
    prover.gate.set()
    eventually(lambda: stopped.ends == rejected.ends == other.ends == 1)
    assert ([emission.finish_reason for emission in stopped.emissions], stopped.ids) == (["cancelled"], [])
    assert isinstance(rejection(rejected), InvalidRequest)
    assert other.emissions[-1].finish_reason == "length"


def test_closing_fails_what_waits_and_takes_nothing_more(loop: EngineLoop, prover: GatedProver) -> None:
    at_hand, waiting = RecordingSink(), [RecordingSink() for _ in range(3)]
    queue = GuideQueue(loop, GuideValidator(prover))
    queue.submit("a", guided("a"), at_hand)
    eventually(lambda: prover.proved == ["a"])
    for number, sink in enumerate(waiting):
        queue.submit(str(number), guided("b"), sink)
    closing = threading.Thread(target=queue.close)
    closing.start()
    eventually(lambda: all(sink.ends == 1 for sink in waiting))
    assert all(isinstance(rejection(sink), EngineUnavailable) for sink in waiting)
    assert (at_hand.ends, closing.is_alive()) == (0, True)
    prover.gate.set()
    closing.join(WAIT_S)
    eventually(lambda: at_hand.ends == 1)
    assert (at_hand.ids, prover.proved) == ([*TEXT[:4]], ["a"])
    with pytest.raises(EngineUnavailable, match="the engine is shutting down"):
        queue.submit("c", guided("a"), RecordingSink())


def test_an_engine_that_closes_ends_every_request_once(prover: GatedProver) -> None:
    loop = EngineLoop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=1)), LoopSettings(AT_ONCE))
    queue = GuideQueue(loop, GuideValidator(prover))
    sinks = [RecordingSink() for _ in range(8)]
    for number, sink in enumerate(sinks):
        queue.submit(str(number), guided("a"), sink)
    eventually(lambda: prover.proved == ["a"])
    prover.gate.set()
    queue.close()
    loop.close()
    assert [(sink.ends, type(sink.errors[0])) for sink in sinks] == [(1, EngineUnavailable)] * 8


def test_a_queue_without_a_guide_starts_neither_a_thread_nor_a_process(loop: EngineLoop) -> None:
    sink, prover = RecordingSink(), GuideProver("xgrammar")
    with guide_queue(loop, prover) as queue:
        queue.submit("a", request(4), sink)
        eventually(lambda: sink.ends == 1)
        assert prover._process is None  # that there is none shows nowhere else
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("guides")]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (EngineFailed("guides: xgrammar could not be started"), "guides: xgrammar could not be started"),
        (OSError("too many processes"), "the request could not be accepted"),
    ],
)
def test_a_proof_that_fails_by_itself_fails_its_request_and_the_next_one_is_proved(
    queue: GuideQueue, prover: GatedProver, fault: Exception, message: str
) -> None:
    failed, next_one = RecordingSink(), RecordingSink()
    prover.fault = fault
    prover.gate.set()
    queue.submit("a", guided("a"), failed)
    eventually(lambda: failed.ends == 1)
    prover.fault = None
    queue.submit("b", guided("a"), next_one)
    eventually(lambda: next_one.ends == 1)
    assert isinstance(rejection(failed), EngineFailed)
    assert rejection(failed).message == message
    assert next_one.ids == [*TEXT[:4]]


def test_rows_are_proved_each_by_itself(queue: GuideQueue, prover: GatedProver) -> None:
    sink = RecordingSink()
    shared = SharedSink(sink, 3)
    for name, guide in (("a", "bad"), ("b", "good"), ("c", None)):
        row = guided(guide) if guide else request(4)
        queue.submit(name, row, RowSink(shared, name))
    eventually(lambda: sink.ids_of("c") == [*TEXT[:4]])
    prover.gate.set()
    eventually(lambda: sink.ends == 1)
    [failed] = [emission for emission in sink.emissions if emission.request_id == "a"]
    assert isinstance(from_wire(failed.finish_reason), InvalidRequest)
    assert (sink.ids_of("b"), sink.errors) == ([*TEXT[:4]], [])
