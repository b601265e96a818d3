from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from bench import report
from bench.bars.finding import Finding
from bench.bars.finding import table as bars_table
from bench.load.answer import Record
from bench.load.plot import check
from bench.load.summary import Summary, summarize
from triton_repo.contract.errors import BenchError


def run(count: int, failed: int = 0, tokens: int | None = 11) -> Summary:
    records = [Record(0.0, 2.0, 0.25, 1.25, [0.5, 0.5], 128, tokens) for _ in range(count)]
    records += [Record(0.0, 1.0, error="HTTP 503: [red]busy") for _ in range(failed)]
    return summarize(f"{count} at a time", records, client_cpu_s=1.8, server_cpu_s=count * 11 * 20e-6)


def lines(view: Table) -> list[str]:
    text = io.StringIO()
    Console(width=200, file=text).print(view)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def row(label: str, summaries: Sequence[Summary]) -> list[str]:
    return [line for line in lines(report.table(summaries)) if line.startswith(label)]


def test_a_table_has_a_column_for_each_run_and_a_dash_for_what_is_not_known() -> None:
    summaries = [run(3, failed=1), run(100)]
    assert row("requests ok", summaries) == ["requests ok / failed 3 / 1 100 / 0"]
    assert row("time to first token p50", summaries) == ["time to first token p50 ms 250 250"]
    assert row("time to first token p99", summaries) == ["time to first token p99 ms - 250"]
    assert row("between tokens (mean of a request) p50", summaries)[0].endswith("ms 100 100")
    assert row("tokens in / out", summaries) == ["tokens in / out per request 128 / 11 128 / 11"]
    assert row("server CPU", summaries) == ["server CPU us / token 20 20"]


def test_a_row_that_no_run_can_fill_is_left_out() -> None:
    assert row("goodput", [run(3)]) == []
    assert row("output tokens", [run(3, tokens=None)]) == []


def test_failures_missing_usage_and_a_busy_client_are_told() -> None:
    told = report.remarks([run(2, failed=3, tokens=None)])
    assert told[0] == "2 at a time: 3 requests failed: HTTP 503: [red]busy"
    assert "no usage" in told[1]
    assert "the client used 90% of a core" in told[2]


def test_the_json_file_names_the_machine_the_options_and_every_figure(tmp_path: Path) -> None:
    file = tmp_path / "new" / "run.json"
    report.write_json(file, report.document([run(100, failed=1)], {"model": "demo"}))
    written = json.loads(file.read_bytes())
    assert written["format"] == 1
    assert written["machine"]["cores"] >= 1
    assert written["options"] == {"model": "demo"}
    (figures,) = written["runs"]
    assert figures["ttft_s"] == {"count": 100, "mean": 0.25, "percentiles": {"50": 0.25, "90": 0.25, "99": 0.25}}
    assert (figures["succeeded"], figures["failed"], figures["errors"]) == (100, 1, {"HTTP 503: [red]busy": 1})
    assert figures["server_cpu_s_per_token"] == pytest.approx(20e-6)


@pytest.mark.parametrize(
    ("measured", "side", "target", "met"),
    [
        (0.95, "≥", 0.95, True),
        (0.94, "≥", 0.95, False),
        (4.0, "≤", 4.0, True),
        (4.1, "≤", 4.0, False),
        (None, "≤", 4.0, False),
        (7.0, "≤", None, None),
    ],
)
def test_a_bar_is_met_or_not_or_only_told(measured: float | None, side: str, target: float | None, met: object) -> None:
    finding = Finding(1, "what", measured, "ms", side, target)  # type: ignore[arg-type]
    assert finding.met is met
    assert finding.to_json()["met"] is met


def test_the_bars_are_told_side_by_side_with_their_targets() -> None:
    findings = [
        Finding(2, "CPU per token", 41.26, "us", "≤", 10.0),
        Finding(1, "delivered / raw", 0.97, "", "≥", 0.95),
        Finding(2, "streams", 1000.0, "streams"),
    ]
    assert lines(bars_table(findings))[1:] == [
        "2 CPU per token 41.3 us ≤ 10 us no",
        "1 delivered / raw 0.97 ≥ 0.95 yes",
        "2 streams 1,000 streams",
    ]


def test_a_plot_of_an_unknown_kind_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(BenchError, match=r"--plot = 'runs.gif'; must end in .png, .svg, .pdf"):
        check(Path("runs.gif"))
