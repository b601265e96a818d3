"""Cancellations that arrive before their request, and cancellations that arrive too late."""

from __future__ import annotations

from triton_repo.engine.loop.early_cancels import EarlyCancels


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
