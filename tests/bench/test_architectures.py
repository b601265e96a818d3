"""`docs/models.md` is what `python -m bench.architectures --write` wrote."""

from __future__ import annotations

from bench.architectures.catalog import ARCHITECTURES
from bench.architectures.page import PAGE, Measurement, page


def test_the_page_is_the_measurement() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(Measurement.load())


def test_every_architecture_is_measured_and_is_equal_or_rejected_for_a_reason() -> None:
    results = Measurement.load().results
    assert [result.name for result in results] == [each.name for each in ARCHITECTURES]
    for result in results:
        assert result.reason or (result.way and result.largest_difference is not None), result.name
