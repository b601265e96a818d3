"""What one load came to."""

from __future__ import annotations

from dataclasses import replace

from bench.load.answer import Record
from bench.load.connection import Target
from bench.overload.runs import Run, Runs
from bench.overload.serve import NOISY, QUIET, logged_rejections_s, quiet
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


def test_the_clients_own_delay_is_told_apart() -> None:
    records = [replace(record(2.0, 1.5), sent_s=2.25), record(4.0, 0.5, "connection: refused")]
    assert judge(records, start_s=0.0, seconds=10.0, deadline_s=5.0).client_lag_s == [0.25]


def test_rejections_are_timed_in_the_gateway_too_by_the_lines_of_its_log() -> None:
    log = (
        b"INFO POST /v1/chat/completions 503 0.002 s id=aa key=noisy\n"
        b"INFO POST /v1/chat/completions 200 1.250 s id=bb key=noisy\n"
        b"INFO 490 more requests were rejected with 429 or 503\n"
        b"INFO POST /v1/chat/completions 429 0.011 s id=cc client_id=503 key=quiet\n"
    )
    assert logged_rejections_s(log) == [0.002, 0.011]


def test_runs_at_one_rate_count_by_the_mean_of_their_goodputs_and_by_all_of_their_rejections() -> None:
    rejected = [record(4.0, 0.002 * number, "HTTP 503: busy") for number in range(1, 101)]
    runs = [
        Run(judge([record(4.0, 1.0)] * served + rejected, 0.0, 10.0, 5.0), [0.001], [0.004], 0.0) for served in (7, 21)
    ]
    both = Runs("2×", runs)
    assert both.goodput == 2.0
    assert (both.rejection.count, both.health.count, both.rejection_inside.count) == (200, 2, 2)
    assert both.num_late == 0


def test_the_second_key_asks_the_same_server_and_says_how_long_it_waits_too() -> None:
    target = replace(Target.parse("127.0.0.1:9000", NOISY), headers=(("x-request-timeout", "5"),))
    head, _, body = quiet(target).request("/v1/completions", b"{}").partition(b"\r\n\r\n")
    assert f"Authorization: Bearer {QUIET}".encode() in head.split(b"\r\n")
    assert b"x-request-timeout: 5" in head.split(b"\r\n")
    assert body == b"{}"
