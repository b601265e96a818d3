"""How often one stream may send a message."""

from __future__ import annotations

from triton_repo.engine.flush import MESSAGE_COST_S, flush_interval_s


def test_few_streams_keep_the_setting() -> None:
    assert flush_interval_s(0.01, 1) == 0.01


def test_many_streams_stretch_it() -> None:
    assert flush_interval_s(0.01, 1000) == 1000 * MESSAGE_COST_S


def test_zero_means_every_token_however_many_streams_are_live() -> None:
    assert flush_interval_s(0.0, 1000) == 0.0
