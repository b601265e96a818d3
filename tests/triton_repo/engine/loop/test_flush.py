"""How often one stream may send a message."""

from __future__ import annotations

from triton_repo.engine.loop.flush import LONGEST_STRETCH_S, MESSAGE_SPACING_S, flush_interval_s


def test_few_streams_keep_the_setting() -> None:
    assert flush_interval_s(0.01, 1) == 0.01


def test_many_streams_stretch_it_up_to_a_bound() -> None:
    assert flush_interval_s(0.01, 50) == 50 * MESSAGE_SPACING_S
    assert flush_interval_s(0.01, 10_000) == LONGEST_STRETCH_S


def test_a_setting_beyond_the_bound_is_kept() -> None:
    assert flush_interval_s(1.0, 10_000) == 1.0


def test_zero_means_every_token_however_many_streams_are_live() -> None:
    assert flush_interval_s(0.0, 1000) == 0.0
