from __future__ import annotations

from triton_repo.engine.runtimes.openvino.admission import Admission


def test_no_more_sequences_run_than_the_batch_holds() -> None:
    admission = Admission(max_sequences=2, num_blocks=100)
    assert [admission.admit(key, 1) for key in (1, 2, 3)] == [True, True, False]
    admission.release(1)
    assert admission.admit(3, 1)


def test_a_sequence_runs_when_all_the_blocks_that_it_may_need_are_free() -> None:
    admission = Admission(max_sequences=9, num_blocks=10)
    assert [admission.admit(1, 6), admission.admit(2, 5), admission.admit(3, 4)] == [True, False, True]
    admission.release(1)
    assert admission.admit(2, 5)


def test_a_sequence_that_is_larger_than_the_cache_runs_alone() -> None:
    admission = Admission(max_sequences=9, num_blocks=10)
    assert admission.admit(1, 1)
    assert not admission.admit(2, 11)
    admission.release(1)
    assert admission.admit(2, 11)
    assert not admission.admit(3, 1)


def test_to_release_twice_is_no_error() -> None:
    admission = Admission(max_sequences=1, num_blocks=1)
    assert admission.admit(1, 1)
    admission.release(1)
    admission.release(1)
    assert admission.admit(2, 1)
