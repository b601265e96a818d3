from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.summary import Slo
from bench.sweep.goal import Goal
from bench.sweep.outcome import Outcome
from bench.sweep.winner import effects, front, nearest, pareto_front, ranked, winner
from tests.bench.load.outcomes import failure, outcome

FAST = Goal("output-tokens", Slo(ttft_ms=60))
MEASURED = st.builds(
    outcome,
    tokens_per_s=st.integers(1, 5).map(float),
    ttft_p99_ms=st.sampled_from([None, 20.0, 40.0, 60.0, 80.0]),
    concurrency=st.integers(1, 9),
    failed=st.sampled_from([0, 0, 0, 1]),
)
OUTCOMES = st.lists(MEASURED | st.just(failure()), max_size=12, unique_by=lambda one: one.fingerprint)
PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)))


def dominates(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """(gain, cost) as good in both, and better in one."""
    return one[0] >= other[0] and one[1] <= other[1] and one != other


@given(points=PAIRS)
def test_a_front_is_exactly_what_nothing_dominates(points: Sequence[tuple[int, int]]) -> None:
    found = pareto_front(points, lambda point: point[0], lambda point: point[1])
    assert sorted(found) == sorted(one for one in points if not any(dominates(other, one) for other in points))


@given(outcomes=OUTCOMES)
def test_the_winner_keeps_the_slo_and_nobody_who_does_has_more(outcomes: Sequence[Outcome]) -> None:
    best = winner(outcomes, FAST)
    within = [one for one in outcomes if FAST.met_by(one)]
    assert (best is None) == (not within)
    if best is not None:
        assert best in within
        assert FAST.gain(best) == max(map(FAST.gain, within))


@given(outcomes=OUTCOMES)
def test_the_order_is_those_that_meet_then_those_that_miss_then_those_that_failed(outcomes: Sequence[Outcome]) -> None:
    order = [0 if FAST.met_by(one) else 1 if one.measured else 2 for one in ranked(outcomes, FAST)]
    assert order == sorted(order)
    assert len(order) == len(outcomes)


@given(outcomes=OUTCOMES)
def test_without_an_slo_the_most_tokens_win(outcomes: Sequence[Outcome]) -> None:
    goal = Goal("output-tokens", Slo())
    best = winner(outcomes, goal)
    assert (
        goal.gain(best) == max(goal.gain(one) for one in outcomes if one.whole)
        if best
        else not any(one.whole for one in outcomes)
    )


def test_the_nearest_is_the_one_that_misses_least_whatever_its_throughput() -> None:
    close, far = outcome(10, ttft_p99_ms=61), outcome(500, ttft_p99_ms=300)
    assert winner([far, close, failure()], FAST) is None
    assert nearest([failure(), far, close], FAST) is close
    assert [str(miss) for miss in FAST.misses(close)] == ["time to first token p99 61 ms > 60 ms"]
    assert nearest([failure()], FAST) is None


def test_a_limit_that_cannot_be_shown_to_be_kept_is_missed() -> None:
    unknown = outcome(ttft_p99_ms=None)
    assert not FAST.met_by(unknown)
    assert nearest([unknown, outcome(ttft_p99_ms=1000)], FAST) != unknown


def test_a_point_with_a_failed_request_never_wins() -> None:
    assert winner([outcome(failed=1)], Goal("output-tokens", Slo())) is None


def test_every_limit_counts() -> None:
    one = outcome(ttft_p99_ms=50)
    assert Goal("output-tokens", Slo(50, 10, 1000)).met_by(one)
    assert [miss.latency for miss in Goal("output-tokens", Slo(49, 9, 999)).misses(one)] == [
        "ttft",
        "itl",
        "end_to_end",
    ]
    assert str(Goal("goodput", Slo(49, None, 999))) == (
        "most requests/s within the SLO with time to first token p99 ≤ 49 ms, end to end p99 ≤ 999 ms"
    )


def test_goodput_counts_the_requests_that_keep_every_limit() -> None:
    one = outcome(ttft_p99_ms=50)
    assert Goal("goodput", Slo(ttft_ms=50)).gain(one) == pytest.approx(10)
    assert Goal("goodput", Slo(ttft_ms=50, end_to_end_ms=999)).gain(one) == 0
    assert Goal("goodput", Slo(ttft_ms=50)).gain(failure()) == 0


def test_a_front_leaves_out_points_with_failed_requests() -> None:
    good = outcome(100, ttft_p99_ms=50)
    assert front([good, outcome(900, ttft_p99_ms=1, failed=3), outcome(90, ttft_p99_ms=60)], FAST, "ttft") == [good]


def test_each_value_is_shown_by_its_best_point() -> None:
    outcomes = [
        outcome(tokens, settings={"a": a, "b": b, "c": 0})
        for tokens, a, b in [(10, 1, "x"), (30, 1, "y"), (20, 2, "x"), (5, 2, "y")]
    ]
    found = effects(outcomes, FAST)
    assert {key: {value: FAST.gain(best) for value, best in by.items()} for key, by in found.items()} == {
        "a": {1: 30, 2: 20},
        "b": {"y": 30, "x": 20},
    }
