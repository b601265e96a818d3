"""Backoff between the starts of a process that keeps ending."""

from __future__ import annotations

import pytest

from triton_repo.contract.health.restart_policy import RestartPolicy


@pytest.mark.parametrize(("failures", "delay_s"), [(1, 0.5), (2, 1), (3, 2), (7, 30), (50, 30), (2000, 30)])
def test_the_delay_doubles_up_to_a_bound(failures: int, delay_s: float) -> None:
    assert RestartPolicy().delay_s(failures) == delay_s


def test_failures_in_a_row_are_counted_until_a_process_has_served_for_long() -> None:
    assert RestartPolicy().failures(before=3, served_s=59) == 4
    assert RestartPolicy().failures(before=3, served_s=60) == 1


def test_only_a_policy_with_a_bound_gives_up() -> None:
    assert not RestartPolicy().gives_up(1000)
    assert [RestartPolicy(max_failures=3).gives_up(failures) for failures in (2, 3)] == [False, True]
