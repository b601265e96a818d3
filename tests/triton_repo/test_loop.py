"""The engine's thread: requests join, leave, end exactly once, and fail alone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.triton_repo.engines_under_test import RecordingSink, ScriptedRuntime
from triton_repo.engine.config import ReplayConfig
from triton_repo.engine.live_requests import Counters
from triton_repo.engine.loop import MAX_FAILURES, EngineLoop
from triton_repo.engine.replay_runtime import ReplayRuntime
from triton_repo.engine.request import EngineRequest
from triton_repo.engine.runtime import Runtime, TokenDelta
from triton_repo.engine.stream import Emission
from triton_repo.errors import EngineFailed, EngineUnavailable, InvalidRequest
from triton_repo.sampling import Sampling
from triton_repo.tensors import CHANNEL_LEASE_S

WAIT_S = 10
TEXT = tuple(range(10, 30))


def request(max_tokens: int = 8, *, stream: bool = True, stop: tuple[tuple[int, ...], ...] = ()) -> EngineRequest:
    return EngineRequest([1, 2, 3], max_tokens, (2,), Sampling(ignore_eos=True), stop, stream)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.001)


@contextmanager
def engine_loop(
    runtime: Runtime, flush_s: float = 0.0, observe: Callable[[Counters], None] = lambda _: None
) -> Iterator[EngineLoop]:
    loop = EngineLoop(runtime, flush_s, observe)
    try:
        yield loop
    finally:
        loop.close()


def test_every_token_is_its_own_emission_at_a_flush_interval_of_zero() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.submit("a", request(5), sink)
        eventually(lambda: sink.ends == 1)
    assert [len(emission.output_ids) - emission.window_length for emission in sink.emissions] == [1] * 5
    assert [emission.generated for emission in sink.emissions] == [1, 2, 3, 4, 5]
    assert sink.emissions[-1].finish_reason == "length"
    assert sink.ids == list(TEXT[:5])


def test_tokens_within_a_flush_interval_travel_together_behind_the_first() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT)), flush_s=30.0) as loop:
        loop.submit("a", request(20), sink)
        eventually(lambda: sink.ends == 1)
    assert [len(emission.output_ids) - emission.window_length for emission in sink.emissions] == [1, 19]
    assert sink.ids == list(TEXT)


def test_tokens_leave_when_their_interval_is_over_though_no_more_come() -> None:
    runtime = ScriptedRuntime()
    sink = RecordingSink()
    with engine_loop(runtime, flush_s=0.02) as loop:
        runtime.steps = [[TokenDelta(1, (11,))], [TokenDelta(1, (12,))]]
        loop.submit("a", request(), sink)
        eventually(lambda: sink.ids == [11, 12])


def test_a_request_that_does_not_stream_gets_one_emission() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.submit("a", request(20, stream=False), sink)
        eventually(lambda: sink.ends == 1)
    assert len(sink.emissions) == 1
    assert sink.ids == list(TEXT)


def test_an_end_id_ends_the_generation_and_is_counted_but_not_sent() -> None:
    runtime, sink = ScriptedRuntime(), RecordingSink()
    with engine_loop(runtime) as loop:
        runtime.steps = [[TokenDelta(1, (11, 12, 2), "stop")]]
        loop.submit("a", request(), sink)
        eventually(lambda: sink.ends == 1)
    assert sink.ids == [11, 12]
    assert sink.emissions[-1].generated == 3
    assert sink.emissions[-1].finish_reason == "stop"


def test_a_stop_sequence_over_several_steps_ends_the_generation_and_cancels_the_runtime() -> None:
    runtime, sink = ScriptedRuntime(), RecordingSink()
    with engine_loop(runtime) as loop:
        runtime.steps = [
            [TokenDelta(1, (11,))],
            [TokenDelta(1, (12,))],
            [TokenDelta(1, (13, 14))],
            [TokenDelta(1, (15,))],
        ]
        loop.submit("a", request(stop=((12, 13),)), sink)
        eventually(lambda: not runtime.steps and sink.ends == 1)
    assert sink.ids == [11, 12, 13]
    assert runtime.cancelled == [1]


def test_a_stop_ends_a_running_request_as_cancelled() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=0.5))) as loop:
        loop.submit("a", request(20), sink)
        eventually(lambda: len(sink.emissions) == 1)
        loop.stop("a")
        eventually(lambda: sink.ends == 1)
    assert sink.emissions[-1].finish_reason == "cancelled"


def test_a_stop_that_overtakes_its_request_still_stops_it() -> None:
    runtime, sink = ScriptedRuntime(), RecordingSink()
    with engine_loop(runtime) as loop:
        loop.stop("a")
        loop.submit("a", request(), sink)
        eventually(lambda: sink.ends == 1)
        assert runtime.submitted == []
    assert sink.emissions[-1].finish_reason == "cancelled"


def test_a_stop_that_comes_too_late_does_not_hit_the_next_request_of_that_id() -> None:
    first, second = RecordingSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.submit("a", request(2), first)
        eventually(lambda: first.ends == 1)
        loop.stop("a")
        loop.submit("a", request(2), second)
        eventually(lambda: second.ends == 1)
    assert second.emissions[-1].finish_reason == "length"


def test_a_request_id_in_use_is_refused_and_the_running_request_is_left_alone() -> None:
    first, second = RecordingSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=200))) as loop:
        loop.submit("a", request(5), first)
        loop.submit("a", request(5), second)
        eventually(lambda: first.ends == 1 and second.ends == 1)
    assert [type(error) for error in second.errors] == [InvalidRequest]
    assert first.ids == list(TEXT[:5])


def test_a_direct_client_that_has_gone_is_cancelled() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=0.5))) as loop:
        loop.submit("", request(20), sink)
        eventually(lambda: len(sink.emissions) == 1)
        sink.gone = True
        eventually(lambda: sink.ends == 1)
    assert sink.emissions[-1].finish_reason == "cancelled"


def test_a_request_that_fails_fails_alone() -> None:
    runtime, bad, good = ScriptedRuntime(), RecordingSink(), RecordingSink()
    with engine_loop(runtime) as loop:
        loop.submit("bad", request(), bad)
        loop.submit("good", request(), good)
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [[TokenDelta(1, error=EngineFailed("boom")), TokenDelta(2, (11,), "stop")]]
        loop.stop("nobody")  # wakes the loop
        eventually(lambda: bad.ends == 1 and good.ends == 1)
    assert [str(error) for error in bad.errors] == ["boom"]
    assert good.ids == [11]


def test_a_runtime_that_breaks_fails_what_is_live_and_serves_what_comes_later() -> None:
    runtime, first, second = ScriptedRuntime(), RecordingSink(), RecordingSink()
    with engine_loop(runtime) as loop:
        runtime.steps = [RuntimeError("secret detail")]
        loop.submit("a", request(), first)
        eventually(lambda: first.ends == 1)
        runtime.steps = [[TokenDelta(2, (11,), "stop")]]
        loop.submit("b", request(), second)
        eventually(lambda: second.ends == 1)
    assert isinstance(first.errors[0], EngineFailed)
    assert "secret" not in str(first.errors[0])
    assert second.ids == [11]


class BrokenSink(RecordingSink):
    """A client that Triton has given up."""

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:  # noqa: ARG002
        super().send(emissions, final=False)
        raise RuntimeError("the response sender is closed")


def test_a_client_that_cannot_be_answered_leaves_the_others_alone() -> None:
    broken, whole = BrokenSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.submit("a", request(5), broken)
        loop.submit("b", request(5), whole)
        eventually(lambda: whole.ends == 1 and len(broken.errors) == 1)
    assert whole.ids == list(TEXT[:5])
    assert [type(error) for error in broken.errors] == [EngineFailed]
    assert len(broken.emissions) == 1, "nothing follows a message that was lost"


class BrokenRuntime(ScriptedRuntime):
    def cancel(self, key: int) -> None:
        raise AttributeError(f"no handle of {key}")


def test_a_runtime_that_cannot_even_cancel_still_leaves_every_request_answered() -> None:
    runtime, sinks = BrokenRuntime(), [RecordingSink(), RecordingSink()]
    with engine_loop(runtime) as loop:
        for index, sink in enumerate(sinks):
            loop.submit(str(index), request(), sink)
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [RuntimeError("broken")]
        loop.stop("nobody")
        eventually(lambda: all(sink.ends == 1 for sink in sinks))


def test_a_runtime_that_fails_again_and_again_is_given_up() -> None:
    runtime, given_up = ScriptedRuntime(), threading.Event()
    loop = EngineLoop(runtime, 0.0, give_up=given_up.set)
    runtime.steps = [RuntimeError("lost") for _ in range(MAX_FAILURES)]
    loop.stop("nobody")
    assert given_up.wait(WAIT_S)


def test_what_is_due_on_a_channel_leaves_in_one_message_and_each_request_ends_by_itself() -> None:
    runtime, channel, sinks = ScriptedRuntime(), RecordingSink(), [RecordingSink(), RecordingSink()]
    with engine_loop(runtime, flush_s=30.0) as loop:
        loop.subscribe("channel", channel)
        for name, sink in zip("ab", sinks, strict=True):
            loop.submit(name, request(), sink, "channel")
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [
            [TokenDelta(1, (11,)), TokenDelta(2, (21,))],
            [TokenDelta(1, (12,)), TokenDelta(2, (22,))],
            [TokenDelta(1, (13,), "length"), TokenDelta(2, (23,), "length")],
        ]
        loop.stop("nobody")  # wakes the loop
        eventually(lambda: all(sink.ends == 1 for sink in sinks))
        assert channel.errors == []
    assert [[emission.request_id for emission in message] for message in channel.messages] == [["a", "b"], ["a", "b"]]
    assert (channel.ids_of("a"), channel.ids_of("b")) == ([11, 12, 13], [21, 22, 23])
    assert [(sink.messages, sink.errors) for sink in sinks] == [([], []), ([], [])]
    assert channel.ends == 1, "with the engine the channel ends too"


def test_without_its_channel_a_request_is_answered_directly() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.submit("a", request(5), sink, "nobody's")
        eventually(lambda: sink.ends == 1)
    assert sink.ids == list(TEXT[:5])


def test_a_whole_answer_that_is_alone_is_its_own_response() -> None:
    channel, sink = RecordingSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.subscribe("channel", channel)
        loop.submit("a", request(5, stream=False), sink, "channel")
        eventually(lambda: sink.ends == 1)
    assert (sink.ids, channel.messages) == (list(TEXT[:5]), [])


def test_a_failure_on_a_channel_is_told_to_its_own_request() -> None:
    runtime, channel, bad, good = ScriptedRuntime(), RecordingSink(), RecordingSink(), RecordingSink()
    with engine_loop(runtime) as loop:
        loop.subscribe("channel", channel)
        loop.submit("bad", request(), bad, "channel")
        loop.submit("good", request(), good, "channel")
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [
            [TokenDelta(1, (11,)), TokenDelta(2, (21,))],
            [TokenDelta(1, error=EngineFailed("boom")), TokenDelta(2, (22,), "stop")],
        ]
        loop.stop("nobody")
        eventually(lambda: bad.ends == 1 and good.ends == 1)
    assert [str(error) for error in bad.errors] == ["boom"]
    assert (good.errors, channel.errors, channel.ids_of("good")) == ([], [], [21, 22])


def test_a_channel_that_is_open_cannot_be_subscribed_to_again() -> None:
    first, second = RecordingSink(), RecordingSink()
    with engine_loop(ScriptedRuntime()) as loop:
        loop.subscribe("channel", first)
        loop.subscribe("channel", second)
        eventually(lambda: second.ends == 1)
        assert first.ends == 0
    assert [type(error) for error in second.errors] == [InvalidRequest]


class SlowRuntime(ScriptedRuntime):
    """A step takes as long as a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def step(self) -> Sequence[TokenDelta]:
        if self.steps:
            assert self.go_on.wait(2 * CHANNEL_LEASE_S)
        return super().step()


def test_a_renewal_that_came_during_a_long_step_counts() -> None:
    runtime, channel, sink = SlowRuntime(), RecordingSink(), RecordingSink()
    with engine_loop(runtime) as loop:
        loop.subscribe("channel", channel)
        loop.submit("a", request(), sink, "channel")
        eventually(lambda: len(runtime.submitted) == 1)
        runtime.steps = [[TokenDelta(1, (11,))], [TokenDelta(1, (12,), "length")]]
        loop.stop("nobody")  # wakes the loop, into a step that outlasts the lease
        time.sleep(CHANNEL_LEASE_S / 2)
        loop.renew("channel")
        time.sleep(CHANNEL_LEASE_S / 2 + 1)
        runtime.go_on.set()
        eventually(lambda: sink.ends == 1)
    assert [emission.finish_reason for emission in channel.emissions] == ["", "length"]


def test_what_comes_after_the_end_of_a_stream_in_the_same_step_is_nothing() -> None:
    runtime, channel, ended, other = ScriptedRuntime(), RecordingSink(), RecordingSink(), RecordingSink()
    with engine_loop(runtime, flush_s=30.0) as loop:
        loop.subscribe("channel", channel)
        loop.submit("a", request(stop=((12,),)), ended, "channel")
        loop.submit("b", request(), other, "channel")
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [
            [TokenDelta(1, (11,)), TokenDelta(2, (21,))],
            [TokenDelta(2, (22,))],
            [TokenDelta(1, (12,)), TokenDelta(1, (13,)), TokenDelta(1, error=EngineFailed("too late"))],
            [TokenDelta(2, (23,), "length")],
        ]
        loop.stop("nobody")
        eventually(lambda: ended.ends == 1 and other.ends == 1)
    assert (ended.errors, other.errors) == ([], [])
    assert (channel.ids_of("a"), channel.ids_of("b")) == ([11, 12], [21, 22, 23])


def test_a_failure_in_the_step_of_a_first_token_touches_no_other() -> None:
    runtime, channel, sinks = ScriptedRuntime(), RecordingSink(), [RecordingSink(), RecordingSink()]
    with engine_loop(runtime, flush_s=30.0) as loop:
        loop.subscribe("channel", channel)
        for name, sink in zip("ab", sinks, strict=True):
            loop.submit(name, request(), sink, "channel")
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [
            [TokenDelta(2, (21,))],
            [TokenDelta(2, (22,))],
            [TokenDelta(1, (11,)), TokenDelta(1, error=EngineFailed("boom"))],
            [TokenDelta(2, (23,), "length")],
        ]
        loop.stop("nobody")
        eventually(lambda: all(sink.ends == 1 for sink in sinks))
    assert [[str(error) for error in sink.errors] for sink in sinks] == [["boom"], []]
    assert channel.ids_of("b") == [21, 22, 23]


def test_the_end_of_a_channel_is_the_end_of_what_rides_on_it() -> None:
    channel, rider, other = RecordingSink(), RecordingSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=0.5))) as loop:
        loop.subscribe("channel", channel)
        loop.submit("a", request(20), rider, "channel")
        loop.submit("b", request(20), other)
        eventually(lambda: bool(channel.messages and other.messages))
        loop.stop("channel")
        eventually(lambda: channel.ends == 1)
        assert (rider.ends, other.ends) == (1, 0)
    assert channel.emissions[-1].finish_reason == "cancelled"


def test_a_message_that_is_lost_on_a_channel_fails_those_that_were_in_it() -> None:
    runtime, sinks = ScriptedRuntime(), [RecordingSink(), RecordingSink()]
    with engine_loop(runtime) as loop:
        loop.subscribe("channel", BrokenSink())
        for name, sink in zip("ab", sinks, strict=True):
            loop.submit(name, request(), sink, "channel")
        eventually(lambda: len(runtime.submitted) == 2)
        runtime.steps = [[TokenDelta(1, (11,)), TokenDelta(2, (21,), "stop")]]
        loop.stop("nobody")
        eventually(lambda: all(sink.ends == 1 for sink in sinks))
    assert [[type(error) for error in sink.errors] for sink in sinks] == [[EngineFailed], [EngineFailed]]


def test_closing_fails_what_is_live() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=0.5))) as loop:
        loop.submit("a", request(20), sink)
        eventually(lambda: len(sink.emissions) == 1)
    assert [type(error) for error in sink.errors] == [EngineUnavailable]


def test_counters_tell_what_happened_and_that_nothing_is_left() -> None:
    seen: list[Counters] = []
    sinks = [RecordingSink() for _ in range(3)]
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT)), observe=seen.append) as loop:
        for index, sink in enumerate(sinks):
            loop.submit(str(index), request(5), sink)
        eventually(lambda: bool(seen) and seen[-1].finished == 3)
    assert (seen[-1].live, seen[-1].load.running, seen[-1].generated_tokens) == (0, 0, 15)


@pytest.mark.parametrize("seed", range(3))
def test_under_random_stops_every_request_ends_exactly_once(seed: int) -> None:
    chance = random.Random(seed)
    seen: list[Counters] = []
    sinks = {f"r{index}": RecordingSink() for index in range(300)}
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT)), flush_s=0.001, observe=seen.append) as loop:

        def client(names: list[str]) -> None:
            for name in names:
                if chance.random() < 0.2:
                    loop.stop(name)
                loop.submit(name, request(chance.randint(1, 40)), sinks[name])
                if chance.random() < 0.4:
                    loop.stop(name)

        threads = [threading.Thread(target=client, args=(list(sinks)[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: all(sink.ends for sink in sinks.values()))
        eventually(lambda: seen[-1].finished + seen[-1].cancelled == 300)
    assert {sink.ends for sink in sinks.values()} == {1}
    assert seen[-1].live == 0
    assert all(sink.ids == [TEXT[i % 20] for i in range(len(sink.ids))] for sink in sinks.values())
