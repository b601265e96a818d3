"""Stop strings against a reference that sees the whole text at once."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.answers.stop import StopMatcher

# Few letters, so that stop strings occur, overlap and almost occur.
TEXTS = st.lists(st.text(alphabet="abc", max_size=6), max_size=12)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=4)


def reference(text: str, stops: list[str]) -> tuple[str, bool]:
    starts = [text.index(stop) for stop in stops if stop in text]
    return (text[: min(starts)], True) if starts else (text, False)


def run(chunks: list[str], stops: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    sent = ""
    for chunk in chunks:
        text, cut = matcher.feed(chunk)
        sent += text
        if cut:
            return sent, True
    text, cut = matcher.flush()
    return sent + text, cut


@given(chunks=TEXTS, stops=STOPS)
@example(chunks=["ab", "cx"], stops=["abcd", "c"])
@example(chunks=["a", "a", "b"], stops=["ab", "aab"])
def test_any_chunking_cuts_where_the_first_stop_string_starts(chunks: list[str], stops: list[str]) -> None:
    assert run(chunks, stops) == reference("".join(chunks), stops)


@given(chunks=TEXTS, stops=STOPS)
def test_nothing_of_a_stop_string_is_ever_sent_and_nothing_else_is_held(chunks: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    seen, sent = "", ""
    for chunk in chunks:
        text, cut = matcher.feed(chunk)
        seen, sent = seen + chunk, sent + text
        if cut:
            break
        # What may still be cut off: any continuation is one of these, the stop strings' own rests.
        cuts = [len(reference(seen + stop[length:], stops)[0]) for stop in stops for length in range(len(stop))]
        assert len(sent) == min([len(seen), *cuts])


@given(chunks=TEXTS, stops=STOPS)
def test_a_match_is_reported_as_soon_as_no_later_text_could_change_it(chunks: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    seen = ""
    for chunk in chunks:
        seen += chunk
        expected, matched = reference(seen, stops)
        rests = [stop[length:] for stop in stops for length in range(1, len(stop))]
        certain = matched and all(reference(seen + rest, stops)[0] == expected for rest in rests)
        _, cut = matcher.feed(chunk)
        assert cut == certain
        if cut:
            break


@pytest.mark.parametrize("stops", [[], ["\n\n"], ["é", "🐚"]])
def test_text_without_a_possible_stop_passes_at_once(stops: list[str]) -> None:
    assert StopMatcher(stops).feed("a conch") == ("a conch", False)


def test_a_long_stop_string_is_found_across_many_chunks() -> None:
    stop = "x" * 255 + "y"
    assert run([*"x" * 300, "y", "z"], [stop]) == ("x" * 45, True)


@pytest.mark.parametrize("chunks", [["abENDcd"], ["a", "bE", "N", "Dc", "d"], [*"abENDcd"]])
def test_a_stop_string_that_is_kept_ends_the_text(chunks: list[str]) -> None:
    matcher = StopMatcher(["END", "ENDcd"], keep_stop=True)
    text, cut = "", False
    for chunk in chunks:
        more, cut = matcher.feed(chunk)
        text += more
        if cut:
            break
    assert (text, cut, matcher.stop, matcher.num_dropped) == ("abEND", True, "END", 0)
