from __future__ import annotations

import multiprocessing
from dataclasses import replace
from html.parser import HTMLParser
from importlib import util
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.summary import Slo
from bench.sweep import figure, report
from bench.sweep.document import Block, Code, Heading, Paragraph, Picture, Sheet, html, markdown
from bench.sweep.goal import Goal
from bench.sweep.outcome import Load, fingerprint
from bench.sweep.results import Results
from bench.sweep.spec_text import spec_text
from build_scripts.spec.engine_spec import EngineSpec
from build_scripts.spec.reading import read_spec
from tests.bench.load.outcomes import failure, outcome
from triton_repo.contract.errors import BenchError

LOAD = Load(200, None, "128", "64", True, None, "chat", 0, 120.0)
GOAL = Goal("output-tokens", Slo(ttft_ms=60))
OUTCOMES = [
    outcome(300, 70, {"serve.num_threads": 2}, 8),
    outcome(200, 50, {"serve.num_threads": 1}, 4, failed=2),
    outcome(100, 50, {"serve.num_threads": None}, 1),
    failure({"serve.num_threads": 99}, "conch serve ended with 2\nconch: <no> | such thread"),
]


SPECS = st.fixed_dictionaries(
    {
        "name": st.just("tale"),
        "model": st.text(min_size=1),
        "runtime": st.just("replay"),
        "build": st.fixed_dictionaries({}, optional={"max_batch_size": st.integers(1, 512)}),
        "serve": st.fixed_dictionaries(
            {},
            optional={
                "flush_interval_ms": st.floats(0, 60_000),
                "max_step_s": st.just(0.0) | st.floats(1, 3600),
            },
        ),
        "sampling": st.fixed_dictionaries({}, optional={"stop_token_ids": st.lists(st.integers(0, 9), max_size=3)}),
        "replay": st.fixed_dictionaries({"text": st.text(min_size=1)}),
    }
)


@given(values=SPECS)
def test_a_written_spec_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    spec = EngineSpec.model_validate(values)
    file = tmp_path_factory.getbasetemp() / "written.toml"
    file.write_bytes(spec_text(spec, "found by\na test").encode())
    assert read_spec(file) == spec
    assert file.read_text(encoding="utf-8").startswith("# found by\n# a test\nname = ")


def test_a_written_spec_leaves_out_what_the_spec_left_open() -> None:
    spec = EngineSpec.model_validate({"name": "a", "model": "m", "serve": {"num_threads": None}})
    assert spec_text(spec) == 'name = "a"\nmodel = "m"\n'


def test_an_outcome_reads_back_as_it_was(tmp_path: Path) -> None:
    results = Results(tmp_path / "points")
    for one in OUTCOMES:
        results.put(one)
        assert results.get(one.fingerprint) == one
    assert results.get("0" * 64) is None


@pytest.mark.parametrize("content", [b"", b'{"fingerprint": ', b'{"fingerprint": "of another version"}'])
def test_a_file_that_is_no_outcome_counts_as_not_measured(tmp_path: Path, content: bytes) -> None:
    results = Results(tmp_path)
    results.put(OUTCOMES[0])
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert results.get(OUTCOMES[0].fingerprint) is None


def _hold(directory: Path, held: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    with Results(directory).lock():
        held.set()
        done.wait(60)


def test_two_sweeps_do_not_share_a_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "points", held, done))
    other.start()
    assert held.wait(60)
    complaint = f"the sweep of process {other.pid} is at work there"
    with pytest.raises(BenchError, match=complaint), Results(tmp_path / "points").lock():
        pass
    done.set()
    other.join(60)
    with Results(tmp_path / "points").lock():
        pass


def test_a_point_is_another_one_as_soon_as_anything_that_decides_it_changes() -> None:
    spec, machine = {"name": "demo", "serve": {"num_threads": 1}}, {"cores": 2}
    points = [
        fingerprint(spec, "engine", LOAD, 8, machine),
        fingerprint({**spec, "serve": {"num_threads": 2}}, "engine", LOAD, 8, machine),
        fingerprint(spec, "other", LOAD, 8, machine),
        fingerprint(spec, "engine", replace(LOAD, seed=1), 8, machine),
        fingerprint(spec, "engine", LOAD, 9, machine),
        fingerprint(spec, "engine", LOAD, 8, {"cores": 4}),
    ]
    assert len(set(points)) == len(points)
    assert points[0] == fingerprint(dict(reversed(spec.items())), "engine", LOAD, 8, machine)


class Reader(HTMLParser):
    """The text of a page, and the tags that it holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_document_says_the_same_in_markdown_and_in_html() -> None:
    blocks: list[Block] = [
        Heading("Sweep", 1),
        Paragraph("one"),
        Code("two\n<script>"),
        Sheet(["a", "b"], [["x|y", "1"]], numbers=1),
        Picture("p.svg", "a picture", "<svg></svg>"),
    ]
    assert markdown(blocks) == (
        "# Sweep\n\none\n\n```\ntwo\n<script>\n```\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n\n![a picture](p.svg)\n"
    )
    page = Reader(html("Sweep", blocks))
    assert {"h1", "p", "pre", "table", "svg"} <= page.tags
    assert "script" not in page.tags
    assert "two\n<script>" in page.text


def findings(goal: Goal = GOAL) -> report.Findings:
    return report.Findings("demo", goal, LOAD, OUTCOMES, ["Other programs kept 0.4 cores busy meanwhile."])


def test_a_report_has_every_point_the_winner_the_effects_and_the_failures(tmp_path: Path) -> None:
    files = report.write(findings(), tmp_path)
    assert files[0] == tmp_path / "report.md"
    text = files[0].read_text()
    assert "The winner: serve.num_threads=null, 1 at a time: 100 output tokens/s, ttft p99 50 ms" in text
    assert f"conch serve {tmp_path / 'winner.toml'}" in text
    rows = [line.split(" | ")[:3] for line in text.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row[0] in ("| yes", "| no: ttft", "| no: requests failed", "| failed")] == [
        ["| yes", "default", "1"],
        ["| no: ttft", "2", "8"],
        ["| no: requests failed", "1", "4"],
        ["| failed", "99", "1"],
    ]
    assert "conch: <no> | such thread" in text
    assert "2 requests: HTTP 503: busy" in text
    assert "Other programs kept 0.4 cores busy meanwhile." in text


def test_a_report_tells_what_to_start_beside_the_spec(tmp_path: Path) -> None:
    report.write(replace(findings(), flags=("--workers", "2")), tmp_path)
    assert f"conch serve {tmp_path / 'winner.toml'} --workers 2\n" in (tmp_path / "report.md").read_text()


def test_where_no_point_meets_the_goal_the_nearest_is_named() -> None:
    told = report.verdict(findings(Goal("output-tokens", Slo(ttft_ms=40))))
    assert told.startswith("No point meets the goal. The nearest: serve.num_threads=null, 1 at a time")
    assert told.endswith("; but time to first token p99 50 ms > 40 ms.")
    assert report.verdict(replace(findings(), outcomes=OUTCOMES[-1:])) == "No point could be measured."


@pytest.mark.skipif(util.find_spec("matplotlib") is None, reason="needs the extra plot")
def test_a_page_holds_its_picture_and_fetches_nothing(tmp_path: Path) -> None:
    assert [file.name for file in report.write(findings(), tmp_path)] == ["report.md", "pareto.svg", "report.html"]
    ET.fromstring((tmp_path / "pareto.svg").read_bytes())  # noqa: S314 - our own
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "src=" not in page


def test_a_picture_needs_a_p99() -> None:
    assert figure.draw([failure()], GOAL, None) is None
