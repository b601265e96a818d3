"""Requests that ride on a channel: their deltas leave together, and each still ends or fails by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tests.triton_repo.engine.loop.running_loop import TEXT, BrokenSink, engine_loop, eventually, request
from tests.triton_repo.engines_under_test import RecordingSink, ScriptedRuntime
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import EngineFailed, InvalidRequest
from triton_repo.contract.tensors import CHANNEL_LEASE_S
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import TokenDelta


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
        loop.stop("absent")  # wakes the loop
        eventually(lambda: all(sink.ends == 1 for sink in sinks))
        assert channel.errors == []
    assert [[emission.request_id for emission in message] for message in channel.messages] == [["a", "b"], ["a", "b"]]
    assert (channel.ids_of("a"), channel.ids_of("b")) == ([11, 12, 13], [21, 22, 23])
    assert [(sink.messages, sink.errors) for sink in sinks] == [([], []), ([], [])]
    assert channel.ends == 1, "with the engine the channel ends too"


def test_without_its_channel_a_request_is_answered_directly() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.submit("a", request(5), sink, "absent")
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
        loop.stop("absent")
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
        loop.stop("absent")  # wakes the loop, into a step that outlasts the lease
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
        loop.stop("absent")
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
        loop.stop("absent")
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
        loop.stop("absent")
        eventually(lambda: all(sink.ends == 1 for sink in sinks))
    assert [[type(error) for error in sink.errors] for sink in sinks] == [[EngineFailed], [EngineFailed]]


def test_a_second_stop_of_a_channel_does_not_hit_a_request_of_its_name() -> None:
    channel, sink = RecordingSink(), RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        loop.subscribe("a", channel)
        loop.stop("a")
        loop.stop("a")
        loop.submit("a", request(2), sink)
        eventually(lambda: sink.ends == 1)
    assert channel.ends == 1
    assert sink.ids == list(TEXT[:2])
