"""How often one stream may send a message."""

from __future__ import annotations

from triton_repo.engine.loop.flush import FEW_STREAMS, LONGEST_STRETCH_S, MESSAGE_SPACING_S, FlushIntervals


def test_few_streams_keep_the_interval_of_few_and_more_come_to_that_of_many() -> None:
    intervals = FlushIntervals(0.05, 0.1)
    assert [intervals.at(num_live) for num_live in (0, 1, FEW_STREAMS)] == [0.05, 0.05, 0.05]
    assert 0.05 < intervals.at(FEW_STREAMS + 1) < intervals.at(2 * FEW_STREAMS) == 0.1
    assert intervals.at(64) == 0.1


def test_one_interval_for_both_is_kept() -> None:
    intervals = FlushIntervals(0.02, 0.02)
    assert [intervals.at(num_live) for num_live in (1, FEW_STREAMS, 16)] == [0.02, 0.02, 0.02]


def test_a_crowd_stretches_it_up_to_a_bound() -> None:
    intervals = FlushIntervals(0.01, 0.01)
    assert intervals.at(50) == 50 * MESSAGE_SPACING_S
    assert intervals.at(10_000) == LONGEST_STRETCH_S


def test_an_interval_beyond_the_bound_is_kept() -> None:
    assert FlushIntervals(1.0, 1.0).at(10_000) == 1.0


def test_zero_means_every_token_however_many_streams_are_live() -> None:
    assert FlushIntervals(0, 0).at(1000) == 0.0
