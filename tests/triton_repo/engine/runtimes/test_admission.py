"""Which sequences may join a pipeline that must never run short of cache."""

from __future__ import annotations

from triton_repo.engine.runtimes.openvino.lane import has_room


def test_no_more_sequences_run_than_the_batch_holds() -> None:
    assert has_room([1], 1, max_sequences=2, cache=100)
    assert not has_room([1, 1], 1, max_sequences=2, cache=100)


def test_a_sequence_runs_when_all_the_blocks_that_it_may_need_are_free() -> None:
    assert [has_room([6], needed, max_sequences=9, cache=10) for needed in (4, 5)] == [True, False]


def test_a_sequence_that_is_larger_than_the_cache_runs_alone() -> None:
    assert has_room([], 11, max_sequences=9, cache=10)
    assert not has_room([1], 11, max_sequences=9, cache=10)
    assert not has_room([11], 1, max_sequences=9, cache=10)
