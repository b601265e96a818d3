"""Requests and tokens per minute, and requests at a time, of one key."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admission.errors import RateLimitExceeded
from gateway.admission.quota import Limits, Quota, Quotas, duration
from gateway.admission.tally import Tally, create_slots


def quota(tally: Tally | None = None, **limits: int) -> Quota:
    return Quota("alice", Limits(**limits), tally or Tally())


def test_a_minutes_worth_may_be_asked_for_at_once_and_then_as_much_as_time_brings() -> None:
    key = quota(requests_per_minute=3)
    for _ in range(3):
        key.take_request()
    with pytest.raises(RateLimitExceeded, match="key alice: more than 3 requests per minute") as rejected:
        key.take_request()
    assert 19 <= rejected.value.retry_after_s <= 20
    headers = key.headers()
    assert headers["x-ratelimit-limit-requests"] == "3"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "1m0s" or headers["x-ratelimit-reset-requests"].startswith("59.")


def test_what_was_rejected_does_not_count() -> None:
    key = quota(tokens_per_minute=100)
    key.take_tokens(90)
    for _ in range(5):
        with pytest.raises(RateLimitExceeded):
            key.take_tokens(50)
    key.take_tokens(5)


def test_tokens_that_were_not_needed_are_given_back_and_those_that_were_are_taken() -> None:
    key = quota(tokens_per_minute=1000)
    key.take_tokens(900)
    key.correct_tokens(-800)
    assert int(key.headers()["x-ratelimit-remaining-tokens"]) in range(899, 910)
    key.correct_tokens(5000)
    assert key.headers()["x-ratelimit-remaining-tokens"] == "0"
    with pytest.raises(RateLimitExceeded) as rejected:
        key.take_tokens(1)
    assert rejected.value.retry_after_s > 200


def test_a_request_for_more_than_a_minutes_worth_needs_a_full_bucket() -> None:
    key = quota(tokens_per_minute=100)
    key.take_tokens(250)
    with pytest.raises(RateLimitExceeded):
        key.take_tokens(1)


def test_a_bucket_that_nothing_was_taken_from_for_long_holds_no_more_than_a_minutes_worth() -> None:
    key = quota(requests_per_minute=60_000)
    for _ in range(1000):
        key.take_request()
    assert int(key.headers()["x-ratelimit-remaining-requests"]) <= 60_000


def test_so_many_requests_at_a_time() -> None:
    key = quota(parallel=2)
    with key, key:
        with pytest.raises(RateLimitExceeded, match="2 requests are being answered"), key:
            pass
        assert key.num_open == 2
    with key:
        assert key.num_open == 1


def test_all_processes_take_from_the_same_buckets(tmp_path: Path) -> None:
    create_slots(tmp_path / "slots", 2)
    one, two = (quota(Tally.shared(tmp_path / "slots", slot), requests_per_minute=3, parallel=1) for slot in range(2))
    for key in (one, two, one):
        key.take_request()
    with pytest.raises(RateLimitExceeded):
        two.take_request()
    with one, pytest.raises(RateLimitExceeded), two:
        pass
    with one:
        Tally.shared(tmp_path / "slots", 0).clear()  # the process has died
        with two:
            pass


def test_changed_limits_hold_at_once_and_what_was_taken_stays_taken() -> None:
    quotas = Quotas(Tally())
    quotas.of("alice", Limits(requests_per_minute=2)).take_request()
    assert quotas.of("alice", Limits(requests_per_minute=2)) is quotas.of("alice", Limits(requests_per_minute=2))
    tighter = quotas.of("alice", Limits(requests_per_minute=1))
    with pytest.raises(RateLimitExceeded):
        tighter.take_request()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.12, "120ms"), (1, "1s"), (1.5, "1.5s"), (59.9996, "1m0s"), (360, "6m0s"), (61.25, "1m1.25s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
