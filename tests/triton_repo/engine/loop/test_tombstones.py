"""Stops that come before their request, and stops that come too late."""

from __future__ import annotations

from triton_repo.engine.loop.tombstones import Tombstones


def test_a_stop_before_the_request_counts_once() -> None:
    tombstones = Tombstones()
    tombstones.bury("a")
    assert [tombstones.take("a"), tombstones.take("a"), tombstones.take("b")] == [True, False, False]


def test_a_stop_after_the_end_buries_nothing() -> None:
    tombstones = Tombstones()
    tombstones.ended("a")
    tombstones.bury("a")
    assert not tombstones.take("a")


def test_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    tombstones = Tombstones(capacity=2)
    for request_id in ("a", "b", "c"):
        tombstones.bury(request_id)
    assert [tombstones.take(request_id) for request_id in ("a", "b", "c")] == [False, True, True]
