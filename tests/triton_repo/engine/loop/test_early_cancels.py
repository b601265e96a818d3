"""Cancellations that arrive before their request, and cancellations that arrive too late."""

from __future__ import annotations

from triton_repo.engine.loop.early_cancels import LIFETIME_S, EarlyCancels


def test_a_cancellation_before_the_request_counts_once() -> None:
    early = EarlyCancels()
    early.add("a")
    assert [early.take("a"), early.take("a"), early.take("b")] == [True, False, False]


def test_a_cancellation_after_the_end_is_not_kept_for_the_next_request() -> None:
    early = EarlyCancels()
    early.ended("a")
    early.add("a")
    assert not early.take("a")


def test_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    early = EarlyCancels(capacity=2)
    for request_id in ("a", "b", "c"):
        early.add(request_id)
    assert [early.take(request_id) for request_id in ("a", "b", "c")] == [False, True, True]


def test_a_cancellation_whose_request_never_came_does_not_hit_a_later_one_of_that_id() -> None:
    now_s = 0.0
    early = EarlyCancels(clock=lambda: now_s)
    early.add("a")
    early.add("b")
    now_s = LIFETIME_S / 2
    assert early.take("a")
    now_s = LIFETIME_S
    assert not early.take("b")


def test_an_end_is_not_remembered_for_ever() -> None:
    now_s = 0.0
    early = EarlyCancels(clock=lambda: now_s)
    early.ended("a")
    now_s = LIFETIME_S
    early.add("a")
    assert early.take("a"), "this is the cancellation of another request"
