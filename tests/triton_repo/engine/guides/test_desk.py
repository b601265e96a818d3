"""Requests with a guide wait for its proof, and nobody else does; each ends exactly once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from tests.fake_tensorrt_llm import PATH
from tests.triton_repo.engine.guides.gated_reader import GatedReader
from tests.triton_repo.engine.loop.running_loop import TEXT, WAIT_S, engine_loop, eventually, request
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest, RequestError, from_wire
from triton_repo.contract.sampling import GuideType, Sampling
from triton_repo.engine.guides.desk import GuideDesk
from triton_repo.engine.guides.prover import GuideProver
from triton_repo.engine.guides.reader import GuideReader
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.loop.rows import RowSink, SharedSink
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtimes.replay import ReplayRuntime


def guided(guide: str | None, kind: GuideType = "regex") -> EngineRequest:
    return replace(request(4), sampling=Sampling(guided_decoding_guide_type=kind, guided_decoding_guide=guide))


@contextmanager
def guide_desk(loop: EngineLoop, reader: GuideReader, capacity: int = 64) -> Iterator[GuideDesk]:
    desk = GuideDesk(loop, GuideProver(reader), capacity)
    try:
        yield desk
    finally:
        desk.close()


@pytest.fixture
def loop() -> Iterator[EngineLoop]:
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        yield loop


@pytest.fixture
def reader() -> Iterator[GatedReader]:
    reader = GatedReader()
    yield reader
    reader.gate.set()


@pytest.fixture
def desk(loop: EngineLoop, reader: GatedReader) -> Iterator[GuideDesk]:
    with guide_desk(loop, reader, capacity=3) as desk:
        yield desk
        reader.gate.set()


def refusal(sink: RecordingSink) -> RequestError:
    [error] = sink.errors
    assert (sink.ends, sink.messages) == (1, [])
    return error


def test_requests_without_a_guide_to_prove_are_answered_while_one_is_read(desk: GuideDesk, reader: GatedReader) -> None:
    hostile, unguided, plain_json = RecordingSink(), RecordingSink(), RecordingSink()
    desk.submit("a", guided("bad"), hostile)
    eventually(lambda: reader.read == ["bad"])
    desk.submit("b", request(4), unguided)
    desk.submit("c", guided(None, "json"), plain_json)
    eventually(lambda: unguided.ends == plain_json.ends == 1)
    assert (unguided.ids, plain_json.ids, hostile.ends) == ([*TEXT[:4]], [*TEXT[:4]], 0)
    reader.gate.set()
    eventually(lambda: hostile.ends == 1)
    assert isinstance(refusal(hostile), InvalidRequest)
    assert refusal(hostile).message == "guided_decoding_guide: xgrammar cannot read this regex: no regex"


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
    monkeypatch.syspath_prepend(PATH)
    order: list[str] = []
    hostile, behind, unguided = (OrderedSink(name, order) for name in ("hostile", "behind", "unguided"))
    with guide_desk(loop, GuideReader("xgrammar")) as desk:
        desk.submit("a", guided("hangs"), hostile)
        desk.submit("b", guided("a+"), behind)
        desk.submit("c", request(4), unguided)
        eventually(lambda: len(order) == 3)
    assert order == ["unguided", "hostile", "behind"]
    assert refusal(hostile).message.endswith("its reading takes longer than 2 s")
    assert behind.ids == [*TEXT[:4]]


def test_requests_with_a_guide_come_to_the_engine_in_their_order(desk: GuideDesk, reader: GatedReader) -> None:
    order: list[str] = []
    sinks = [OrderedSink(name, order) for name in "abc"]
    for sink, name in zip(sinks, "abc", strict=True):
        desk.submit(name, guided(name), sink)
    reader.gate.set()
    eventually(lambda: len(order) == 3)
    assert (order, reader.read) == (["a", "b", "c"], ["a", "b", "c"])


def test_more_than_the_desk_has_room_for_are_refused_and_room_comes_back(desk: GuideDesk, reader: GatedReader) -> None:
    sinks = [RecordingSink() for _ in range(3)]
    for number, sink in enumerate(sinks):
        desk.submit(str(number), guided("bad" * number or "good"), sink)
    with pytest.raises(EngineUnavailable, match="guides: 3 requests already wait until theirs is proved"):
        desk.submit("d", guided("good"), RecordingSink())
    reader.gate.set()
    eventually(lambda: [sink.ends for sink in sinks] == [1, 1, 1])

    def taken() -> bool:
        with suppress(EngineUnavailable):  # they are answered a moment before they leave
            desk.submit("d", guided("good"), late)
            return True
        return False

    late = RecordingSink()
    eventually(taken)
    eventually(lambda: late.ends == 1)
    assert late.ids == [*TEXT[:4]]


def test_a_stop_that_overtakes_the_proof_ends_the_request_as_cancelled(
    desk: GuideDesk, reader: GatedReader, loop: EngineLoop
) -> None:
    stopped, refused, other = RecordingSink(), RecordingSink(), RecordingSink()
    desk.submit("a", guided("good"), stopped)
    desk.submit("b", guided("bad"), refused)
    desk.submit("c", guided("good"), other)
    loop.stop("a")
    loop.stop("b")
    reader.gate.set()
    eventually(lambda: stopped.ends == refused.ends == other.ends == 1)
    assert ([emission.finish_reason for emission in stopped.emissions], stopped.ids) == (["cancelled"], [])
    assert isinstance(refusal(refused), InvalidRequest)
    assert other.emissions[-1].finish_reason == "length"


def test_closing_fails_what_waits_and_takes_nothing_more(loop: EngineLoop, reader: GatedReader) -> None:
    at_hand, waiting = RecordingSink(), [RecordingSink() for _ in range(3)]
    desk = GuideDesk(loop, GuideProver(reader))
    desk.submit("a", guided("a"), at_hand)
    eventually(lambda: reader.read == ["a"])
    for number, sink in enumerate(waiting):
        desk.submit(str(number), guided("b"), sink)
    closing = threading.Thread(target=desk.close)
    closing.start()
    eventually(lambda: all(sink.ends == 1 for sink in waiting))
    assert all(isinstance(refusal(sink), EngineUnavailable) for sink in waiting)
    assert (at_hand.ends, closing.is_alive()) == (0, True)
    reader.gate.set()
    closing.join(WAIT_S)
    eventually(lambda: at_hand.ends == 1)
    assert (at_hand.ids, reader.read) == ([*TEXT[:4]], ["a"])
    with pytest.raises(EngineUnavailable, match="the engine is shutting down"):
        desk.submit("c", guided("a"), RecordingSink())


def test_an_engine_that_closes_ends_every_request_once(reader: GatedReader) -> None:
    loop = EngineLoop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=1)), 0.0)
    desk = GuideDesk(loop, GuideProver(reader))
    sinks = [RecordingSink() for _ in range(8)]
    for number, sink in enumerate(sinks):
        desk.submit(str(number), guided("a"), sink)
    eventually(lambda: reader.read == ["a"])
    reader.gate.set()
    desk.close()
    loop.close()
    assert [(sink.ends, type(sink.errors[0])) for sink in sinks] == [(1, EngineUnavailable)] * 8


def test_a_desk_that_nobody_asks_starts_neither_a_thread_nor_a_process(loop: EngineLoop) -> None:
    sink, reader = RecordingSink(), GuideReader("xgrammar")
    with guide_desk(loop, reader) as desk:
        desk.submit("a", request(4), sink)
        eventually(lambda: sink.ends == 1)
        assert reader._process is None  # that there is none shows nowhere else
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("guides")]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (EngineFailed("guides: xgrammar could not be started"), "guides: xgrammar could not be started"),
        (OSError("too many processes"), "the request could not be taken"),
    ],
)
def test_a_proof_that_fails_by_itself_fails_its_request_and_the_next_one_is_proved(
    desk: GuideDesk, reader: GatedReader, fault: Exception, message: str
) -> None:
    failed, next_one = RecordingSink(), RecordingSink()
    reader.fault = fault
    reader.gate.set()
    desk.submit("a", guided("a"), failed)
    eventually(lambda: failed.ends == 1)
    reader.fault = None
    desk.submit("b", guided("a"), next_one)
    eventually(lambda: next_one.ends == 1)
    assert isinstance(refusal(failed), EngineFailed)
    assert refusal(failed).message == message
    assert next_one.ids == [*TEXT[:4]]


def test_rows_are_proved_each_by_itself(desk: GuideDesk, reader: GatedReader) -> None:
    sink = RecordingSink()
    shared = SharedSink(sink, 3)
    for name, guide in (("a", "bad"), ("b", "good"), ("c", None)):
        row = guided(guide) if guide else request(4)
        desk.submit(name, row, RowSink(shared, name))
    eventually(lambda: sink.ids_of("c") == [*TEXT[:4]])
    reader.gate.set()
    eventually(lambda: sink.ends == 1)
    [failed] = [emission for emission in sink.emissions if emission.request_id == "a"]
    assert isinstance(from_wire(failed.finish_reason), InvalidRequest)
    assert (sink.ids_of("b"), sink.errors) == ([*TEXT[:4]], [])
