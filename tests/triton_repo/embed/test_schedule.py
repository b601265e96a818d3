"""Which rows are computed together, without an encoder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triton_repo.embed.schedule import Job, Row, Schedule
from triton_repo.embed.texts import Tokens

MAX_ROWS, MAX_TOKENS = 8, 64


def job(*lengths: int) -> Job:
    return Job([Tokens([7] * length, [0] * length) for length in lengths])


def schedule(*jobs: Job) -> Schedule:
    made = Schedule(MAX_ROWS, MAX_TOKENS)
    for each in jobs:
        made.add(each)
    return made


def lengths(rows: list[Row]) -> list[int]:
    return [row.length for row in rows]


def test_rows_of_about_the_same_length_are_computed_together() -> None:
    waiting = schedule(job(3, 30, 2, 28, 4))
    assert [sorted(lengths(waiting.next())) for _ in range(3)] == [[28, 30], [2, 3, 4], []]


def test_a_row_that_is_longer_than_the_bound_is_computed_alone() -> None:
    waiting = schedule(job(500, 2))
    assert [lengths(waiting.next()) for _ in range(2)] == [[500], [2]]


def test_a_short_text_beside_a_large_request_waits_for_one_computation_at_most() -> None:
    large = job(*[60] * 20)
    waiting = schedule(large)
    waiting.next()
    waiting.add(small := job(3))
    taken = [waiting.next() for _ in range(2)]
    assert any(row.job is small for rows in taken for row in rows)


def test_a_large_request_goes_on_however_many_short_texts_come() -> None:
    large = job(*[60] * 5)
    waiting = schedule(large)
    for _ in range(40):
        for _ in range(20):
            waiting.add(job(2))
        waiting.next()
    assert not large.waiting


def test_rows_of_several_requests_share_a_computation() -> None:
    waiting = schedule(job(5), job(5), job(5))
    assert len({row.job for row in waiting.next()}) == 3


def test_what_is_removed_is_not_computed() -> None:
    gone, kept = job(4, 4), job(5)
    waiting = schedule(gone, kept)
    waiting.remove(gone)
    waiting.remove(gone)
    assert [lengths(waiting.next()), lengths(waiting.next()), waiting.num_rows] == [[5], [], 0]


@given(st.lists(st.lists(st.integers(1, 200), min_size=1, max_size=30), min_size=1, max_size=10))
def test_every_row_is_computed_once_and_within_the_bounds(sizes: list[list[int]]) -> None:
    jobs = [job(*each) for each in sizes]
    waiting = schedule(*jobs)
    computed: list[Row] = []
    while rows := waiting.next():
        longest = max(lengths(rows))
        assert len(rows) == 1 or (len(rows) <= MAX_ROWS and len(rows) * longest <= MAX_TOKENS)
        computed += rows
    assert sorted(map(id, computed)) == sorted(id(row) for each in jobs for row in each.rows)
    assert not any(each.waiting for each in jobs)
