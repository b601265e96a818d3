"""What one load came to."""

from __future__ import annotations

from dataclasses import replace

from bench.load.answer import Record
from bench.load.connection import Target
from bench.overload.serve import NOISY, QUIET, quiet
from bench.overload.verdict import judge


def record(due_s: float, took_s: float, error: str | None = None) -> Record:
    return Record(due_s, due_s + took_s, None if error else due_s + 0.1, error=error)


def test_each_request_is_judged_by_how_it_ended_and_when() -> None:
    records = [
        record(0.0, 1.0),  # in time, but while the load still begins
        record(3.0, 1.0),
        record(9.5, 1.0),  # in time, but after the load has ended
        record(4.0, 5.2),  # late by less than the client's own queue may be
        record(4.0, 6.0),
        record(4.0, 0.002, "HTTP 503: model demo is busy: 9 wait for their turn"),
        record(4.0, 0.004, "HTTP 429: key noisy has asked too much"),
        record(4.0, 5.0, "HTTP 504: the answer was not complete within 5 s"),
        record(4.0, 5.0, "error event: the answer was not complete within 5 s"),
        record(4.0, 1.0, "HTTP 500: the engine failed"),
    ]
    verdict = judge(records, start_s=0.0, seconds=10.0, deadline_s=5.0)
    assert (verdict.offered, verdict.served, verdict.expired, verdict.late, verdict.errors) == (10, 5, 2, 1, 1)
    assert verdict.goodput == 1 / 7
    assert [round(value, 3) for value in verdict.rejection_s] == [0.002, 0.004]
    assert [round(value, 3) for value in verdict.ttft_s] == [0.1] * 3


def test_the_second_key_asks_the_same_server_and_says_how_long_it_waits_too() -> None:
    target = replace(Target.parse("127.0.0.1:9000", NOISY), headers=(("x-request-timeout", "5"),))
    head, _, body = quiet(target).request("/v1/completions", b"{}").partition(b"\r\n\r\n")
    assert f"Authorization: Bearer {QUIET}".encode() in head.split(b"\r\n")
    assert b"x-request-timeout: 5" in head.split(b"\r\n")
    assert body == b"{}"
