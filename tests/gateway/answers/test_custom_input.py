"""The text that a custom tool is called with, out of the arguments that the model writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.calls.custom_input import CustomInput, arguments_of, input_of

TEXTS = (
    st.text()
    | st.text(alphabet='\\"/\n\t\u2028é😀{}:')
    | st.lists(
        st.sampled_from(["\\ud83d", "\\ude00", "\\u0041", "\\u1g", "\\udcg", "\\n", "\\x", "\\", '"', "u", "a", "d"])
    ).map("".join)
)


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


def read(parts: Sequence[str]) -> str:
    reading = CustomInput()
    return "".join([reading.add(part) for part in parts]) + reading.end()


@given(TEXTS, st.booleans(), st.lists(st.integers(min_value=0), max_size=20))
def test_the_text_is_what_was_written_however_it_arrives(text: str, escaped: bool, cuts: list[int]) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=escaped)
    assert read(pieces(arguments, cuts)) == input_of(arguments) == text
    assert input_of(arguments_of(text)) == text


@given(TEXTS, st.lists(st.integers(min_value=0), max_size=20))
def test_whatever_the_arguments_are_pieces_do_not_change_the_text(arguments: str, cuts: list[int]) -> None:
    for given_ in (arguments, '{"input": "' + arguments, '{"inp' + arguments):
        assert read(pieces(given_, cuts)) == input_of(given_)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"patch": "a"}', '{"patch": "a"}'),
        ("ls -l", "ls -l"),
        ('{"input": 1}', '{"input": 1}'),
        ("", ""),
        ('{"inp', '{"inp'),
        (' {\n "input" : "a"}', "a"),
        ('{"input": "cut of', "cut of"),
        ('{"input": "cut \\', "cut "),
        ('{"input": "cut \\ud83d', "cut "),
        ('{"input": "\\ud83d\\u0041"}', "\ufffdA"),
        ('{"input": "a \\u12g4 and \\u"}', "a \\u12g4 and \\u"),
        ('{"input": "\\ud83d\\udcg and \\ud83d\\ug"}', "\ufffd\\udcg and \ufffd\\ug"),
        ('{"input": "\\ud83d\\ude00"}', "😀"),
    ],
)
def test_other_forms_and_ends_are_taken_as_they_are(arguments: str, text: str) -> None:
    assert input_of(arguments) == text
    assert read([*arguments]) == text
