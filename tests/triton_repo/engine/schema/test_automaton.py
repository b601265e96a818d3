"""Regular languages: an automaton takes exactly the texts that are in them, and always knows what comes next."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triton_repo.engine.schema.automaton import IN_STRING, Automaton, Choice, Node, text
from triton_repo.engine.schema.grammar import NoValue
from triton_repo.engine.schema.numbers import integers, numbers
from triton_repo.engine.schema.regex import expression

ALL = ["".join(letters) for length in range(6) for letters in product("ab", repeat=length)]


def takes(automaton: Automaton, characters: str) -> bool:
    state = automaton.start
    for character in characters:
        following = [
            target
            for ranges, target in automaton.edges[state]
            if any(low <= ord(character) <= high for low, high in ranges)
        ]
        if not following:
            return False
        [state] = following  # one at most: no two alternatives begin alike
    return state in automaton.ends


def patterns() -> st.SearchStrategy[str]:
    atoms = st.sampled_from(
        ["a", "b", "[ab]", "[^a]", ".", "(a|b)", "(?:ab|a)", "(ab)*", "a{2}", "b{1,3}", "a?", "(a+b)?"]
    )
    return st.lists(atoms, min_size=1, max_size=5).map("".join)


@given(patterns(), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_pattern_means_what_it_means_to_python(pattern: str, starts: bool, ends: bool) -> None:
    whole = f"{'^' if starts else ''}{pattern}{'$' if ends else ''}"
    automaton = Automaton((expression(whole),))
    for characters in ALL:
        assert takes(automaton, characters) == bool(re.search(whole, characters)), (whole, characters)


@given(patterns(), patterns(), st.integers(0, 3), st.integers(3, 5))
@settings(max_examples=30)
def test_several_patterns_and_a_length_hold_together(one: str, other: str, least: int, most: int) -> None:
    try:
        automaton = Automaton((expression(one), expression(other)), IN_STRING, least, most)
    except NoValue:
        assert not [each for each in ALL if _matches(each, one, other, least, most)]
        return
    for characters in ALL:
        assert takes(automaton, characters) == _matches(characters, one, other, least, most)


def _matches(characters: str, one: str, other: str, least: int, most: int) -> bool:
    found = re.search(one, characters) and re.search(other, characters)
    return bool(found) and least <= len(characters) <= most


@given(st.lists(st.text("abé中", max_size=4), min_size=1, max_size=6))
def test_an_enum_is_its_values_and_no_other(values: list[str]) -> None:
    automaton = Automaton((Choice(tuple(map(text, values))),))
    for characters in {*ALL, *values, *(value + "a" for value in values)}:
        assert takes(automaton, characters) == (characters in values)


@given(st.integers(-2000, 2000), st.integers(0, 3000))
@settings(max_examples=60)
def test_integers_lie_between_their_bounds(low: int, width: int) -> None:
    automaton = Automaton((integers(low, low + width),))
    for value in {*range(low - 12, low + 12), *range(low + width - 12, low + width + 12), 0, 10**6}:
        assert takes(automaton, str(value)) == (low <= value <= low + width)
    assert not takes(automaton, f"0{low}")


@pytest.mark.parametrize(
    ("low", "high", "inside", "outside"),
    [
        (None, 5, ["5", "4.99", "-3.2", "-100"], ["5.1", "6"]),
        (0, None, ["0", "0.5", "123.25"], ["-1", "-0.5"]),
        (Fraction("0.1"), Fraction("0.35"), ["0.1", "0.2", "0.3"], ["0", "0.4", "1", ".2"]),
        (Fraction("-2.5"), -1, ["-1", "-2", "-1.75"], ["-2.6", "-0.5", "-3"]),
    ],
)
def test_numbers_lie_between_their_bounds(
    low: Fraction | None, high: Fraction | None, inside: list[str], outside: list[str]
) -> None:
    automaton = Automaton((numbers(low, high, open_low=False, open_high=False),))
    assert [each for each in inside if not takes(automaton, each)] == []
    assert [each for each in outside if takes(automaton, each)] == []


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", "(?!a)b", "(?<=a)b", r"a\b", r"(a)\1", r"\p{L}", "a**", "(a", "a)", "[a", "a^b", "a{9999}"]
)
def test_what_a_grammar_cannot_express_is_rejected_by_name(pattern: str) -> None:
    with pytest.raises(ValueError, match="which cannot be enforced"):
        expression(pattern)


def test_a_language_without_a_text_is_no_value() -> None:
    languages: tuple[Node, ...] = (expression("^a$"), expression("^b$"))
    with pytest.raises(NoValue):
        Automaton(languages)
