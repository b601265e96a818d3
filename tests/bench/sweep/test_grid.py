from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sweep.grid import Axis, Settings, Value, check_size, combinations, label, parse_axes
from bench.sweep.search import descend
from triton_repo.contract.errors import BenchError

KEYS = ("serve.num_threads", "build.dtype")
AXES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(
    lambda sizes: [Axis(f"key{number}", tuple(range(size))) for number, size in enumerate(sizes)]
)


def test_values_are_json_or_words() -> None:
    axes = parse_axes(["serve.num_threads=1, 2.5,true,null", "build.dtype=float32,2x"], KEYS)
    assert axes == (Axis("serve.num_threads", (1, 2.5, True, None)), Axis("build.dtype", ("float32", "2x")))


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["serve.bogus=1"], "--vary serve.bogus=1: 'serve.bogus' is no key that can be varied; allowed: serve.num"),
        (["model=a,b"], "--vary model=a,b: 'model' is no key"),
        (["build.dtype="], "--vary build.dtype=: must be build.dtype=VALUE,VALUE,… with no empty value"),
        (["build.dtype"], "--vary build.dtype: must be build.dtype=VALUE"),
        (["build.dtype=a,,b"], "with no empty value"),
        (["build.dtype=a", "build.dtype=b"], "--vary build.dtype is given twice; give all its values in one"),
    ],
)
def test_an_axis_that_is_none_is_refused_by_name(texts: Sequence[str], complaint: str) -> None:
    with pytest.raises(BenchError, match=re.escape(complaint)):
        parse_axes(texts, KEYS)


def test_a_value_given_twice_is_tried_once() -> None:
    assert parse_axes(["serve.num_threads=1,2,1"], KEYS)[0].values == (1, 2)


@given(axes=AXES)
def test_a_grid_has_every_combination_once(axes: Sequence[Axis]) -> None:
    grid = list(combinations(axes))
    assert len(grid) == math.prod(len(axis.values) for axis in axes)
    assert len({tuple(settings.items()) for settings in grid}) == len(grid)
    assert all(settings[axis.key] in axis.values for settings in grid for axis in axes)


def test_a_grid_with_nothing_to_compare_is_refused() -> None:
    with pytest.raises(BenchError, match="nothing to sweep: give --vary KEY=VALUE,VALUE, or several --concurrency"):
        check_size([Axis("a", (1,))], levels=1, max_points=10)
    check_size([], levels=2, max_points=2)


def test_a_grid_that_is_too_large_is_refused_with_its_size() -> None:
    axes = [Axis("a", tuple(range(40))), Axis("b", tuple(range(30)))]
    with pytest.raises(BenchError, match=re.escape("has 3,600 points (40 × 30 × 3); --max-points = 200")):
        check_size(axes, levels=3, max_points=200)
    check_size(axes, levels=3, max_points=3600)


def test_settings_are_told_as_on_the_command_line() -> None:
    assert label({"a": None, "b": True, "c": "int8", "d": 2.5}) == "a=null, b=true, c=int8, d=2.5"
    assert label({}) == "the spec's own settings"


def test_a_specs_own_value_joins_those_to_try_once() -> None:
    assert Axis("a", (1, 2)).with_own(None).values == (None, 1, 2)
    assert Axis("a", (1, 2)).with_own(2.0).values == (1, 2)


@given(axes=AXES, data=st.data())
def test_a_quick_search_ends_where_no_single_change_betters_it(axes: Sequence[Axis], data: st.DataObject) -> None:
    scores = {tuple(settings.values()): data.draw(st.integers(0, 9)) for settings in combinations(axes)}

    def score(settings: Settings) -> int:
        return scores[tuple(settings.values())]

    start = {axis.key: data.draw(st.sampled_from(axis.values)) for axis in axes}
    best = descend(start, axes, score)
    assert score(best) >= score(start)
    assert all(score({**best, axis.key: value}) <= score(best) for axis in axes for value in axis.values)


@given(axes=AXES, data=st.data())
def test_a_quick_search_finds_the_best_of_settings_that_do_not_depend_on_each_other(
    axes: Sequence[Axis], data: st.DataObject
) -> None:
    worth = {axis.key: {value: data.draw(st.integers(0, 9)) for value in axis.values} for axis in axes}
    asked: set[tuple[Value, ...]] = set()

    def score(settings: Settings) -> int:
        asked.add(tuple(settings.values()))
        return sum(worth[key][value] for key, value in settings.items())

    best = descend({axis.key: axis.values[0] for axis in axes}, axes, score)
    assert score(best) == sum(max(values.values()) for values in worth.values())
    # One round that climbs and one that finds nothing more.
    assert len(asked) <= 1 + 2 * sum(len(axis.values) for axis in axes)
