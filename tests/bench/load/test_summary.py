from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.answer import Record
from bench.load.summary import Distribution, Slo, percentile, summarize


def good(start_s: float, ttft_s: float, itl_s: float, tokens: int = 11) -> Record:
    last_s = start_s + ttft_s + itl_s * (tokens - 1)
    return Record(
        start_s=start_s,
        end_s=last_s,
        first_s=start_s + ttft_s,
        last_s=last_s,
        gaps_s=[itl_s] * (tokens - 1),
        prompt_tokens=5,
        completion_tokens=tokens,
    )


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 90, 99)] == [50.0, 90.0, 99.0]


@pytest.mark.parametrize(("percent", "enough"), [(50, 2), (90, 10), (99, 100)])
def test_a_percentile_needs_a_value_beyond_it(percent: int, enough: int) -> None:
    assert percentile([1.0] * (enough - 1), percent) is None
    assert percentile([1.0] * enough, percent) == 1.0


@given(st.lists(st.floats(0, 1e6), min_size=100, max_size=300))
def test_a_percentile_is_a_value_with_its_share_at_or_below(values: list[float]) -> None:
    ordered = sorted(values)
    for percent in (50, 90, 99):
        found = percentile(ordered, percent)
        assert found in ordered
        assert sum(value <= found for value in ordered) * 100 >= percent * len(ordered)
        assert sum(value < found for value in ordered) * 100 < percent * len(ordered)


def test_an_empty_sample_has_no_figures() -> None:
    assert Distribution.of([]) == Distribution(0, None, {50: None, 90: None, 99: None})


def test_rates_are_over_the_time_from_the_first_start_to_the_last_end() -> None:
    summary = summarize("run", [good(10.0, 1.0, 0.1), good(11.0, 1.0, 0.2), good(12.0, 1.0, 0.1)])
    assert summary.wall_s == pytest.approx(4.0)
    assert summary.requests_per_s == pytest.approx(3 / 4.0)
    assert summary.output_tokens_per_s == pytest.approx(33 / 4.0)
    assert summary.itl_s.percentiles[50] == pytest.approx(0.1)
    assert (summary.prompt_tokens, summary.completion_tokens) == (15, 33)


def test_failed_requests_are_counted_by_their_error_and_leave_the_latencies_alone() -> None:
    failed = [Record(0.0, 9.0, error="HTTP 503: busy"), Record(0.0, 9.0, error="HTTP 503: busy")]
    summary = summarize("run", [good(0.0, 1.0, 0.1), *failed, Record(0.0, 1.0, error="no end within 1 s")])
    assert (summary.succeeded, summary.failed) == (1, 3)
    assert summary.errors == {"HTTP 503: busy": 2, "no end within 1 s": 1}
    assert summary.end_to_end_s.count == 1
    assert summary.wall_s == 9.0


def test_tokens_are_unknown_as_soon_as_one_answer_has_no_usage() -> None:
    summary = summarize("run", [good(0.0, 1.0, 0.1), Record(0.0, 1.0, 0.5, 0.9)])
    assert summary.completion_tokens is None
    assert summary.output_tokens_per_s is None
    assert summary.server_cpu_s_per_token is None


def test_goodput_counts_what_succeeds_within_every_bound() -> None:
    records = [good(0.0, 0.1, 0.01), good(0.0, 0.9, 0.01), good(0.0, 0.1, 0.09), Record(0.0, 2.0, error="no")]
    wall_s = 2.0
    assert summarize("run", records, Slo(200, 50)).goodput_per_s == pytest.approx(1 / wall_s)
    assert summarize("run", records, Slo(ttft_ms=200)).goodput_per_s == pytest.approx(2 / wall_s)
    assert summarize("run", records, Slo()).goodput_per_s is None


def test_a_single_token_keeps_any_time_between_tokens_and_an_answer_without_text_has_no_first() -> None:
    single = Record(0.0, 0.1, 0.1, 0.1, completion_tokens=1)
    silent = Record(0.0, 0.1, completion_tokens=1)
    assert Slo(itl_ms=1).met_by(single)
    assert Slo(itl_ms=1).met_by(silent)
    assert not Slo(ttft_ms=1000).met_by(silent)


def test_cpu_is_told_per_token_and_per_second() -> None:
    summary = summarize("run", [good(0.0, 1.0, 0.1)], client_cpu_s=0.5, server_cpu_s=0.22)
    assert summary.server_cpu_s_per_token == pytest.approx(0.02)
    assert summary.client_cpu_share == pytest.approx(0.25)


def test_no_records_are_no_figures() -> None:
    summary = summarize("run", [])
    assert (summary.wall_s, summary.requests_per_s, summary.output_tokens_per_s) == (0.0, 0.0, None)
