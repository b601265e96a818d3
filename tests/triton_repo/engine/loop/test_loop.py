"""The engine's thread: requests join, leave, end exactly once, and fail alone."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest

from tests.triton_repo.engine.loop.running_loop import (
    AT_ONCE,
    TEXT,
    WAIT_S,
    BrokenSink,
    engine_loop,
    eventually,
    request,
)
from tests.triton_repo.engines_under_test import RecordingSink, ScriptedRuntime
from triton_repo.contract.engine_config import ReplayConfig
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, InvalidRequest
from triton_repo.engine.loop.live_requests import Counters
from triton_repo.engine.loop.loop import MAX_FAILURES, EngineLoop, LoopSettings
from triton_repo.engine.runtimes.replay import ReplayRuntime
from triton_repo.engine.runtimes.runtime import TokenDelta


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


def test_a_request_id_in_use_is_rejected_and_the_running_request_is_left_alone() -> None:
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
        loop.stop("absent")  # wakes the loop
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
        loop.stop("absent")
        eventually(lambda: all(sink.ends == 1 for sink in sinks))


def test_a_runtime_that_fails_again_and_again_is_given_up() -> None:
    runtime, given_up = ScriptedRuntime(), threading.Event()
    loop = EngineLoop(runtime, LoopSettings(AT_ONCE), give_up=given_up.set)
    runtime.steps = [RuntimeError("lost") for _ in range(MAX_FAILURES)]
    loop.stop("absent")
    assert given_up.wait(WAIT_S)
    loop.close()


def test_closing_fails_what_is_live() -> None:
    sink = RecordingSink()
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT, tokens_per_second=0.5))) as loop:
        loop.submit("a", request(20), sink)
        eventually(lambda: len(sink.emissions) == 1)
    assert [type(error) for error in sink.errors] == [EngineUnavailable]


def test_what_arrives_after_the_close_is_rejected() -> None:
    with engine_loop(ReplayRuntime(ReplayConfig(token_ids=TEXT))) as loop:
        pass
    late, channel = RecordingSink(), RecordingSink()
    loop.submit("a", request(), late)
    loop.subscribe("channel", channel)
    assert [type(error) for error in late.errors + channel.errors] == [EngineUnavailable] * 2


def test_what_arrives_during_the_last_step_is_rejected() -> None:
    late = RecordingSink()

    class LastStep(ScriptedRuntime):
        def step(self) -> Sequence[TokenDelta]:
            if self.cancelled:
                loop.submit("late", request(), late)
            return super().step()

    runtime = LastStep()
    loop = EngineLoop(runtime, LoopSettings(AT_ONCE))
    loop.submit("a", request(), RecordingSink())
    eventually(lambda: len(runtime.submitted) == 1)
    loop.close()
    assert [type(error) for error in late.errors] == [EngineUnavailable]


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
