from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.answer import Answer, Record
from tests.bench.load.events import DONE, ERROR, HELLO, OPENING, STOP, TEXT, USAGE, WHOLE


def read(*pieces: bytes, status: int = 200) -> Record:
    """Feeds one piece per second, the first at second 1."""
    answer = Answer(start_s=0.0)
    answer.begin(status)
    for second, piece in enumerate(pieces, start=1):
        answer.feed(piece, float(second))
    return answer.record(end_s=float(len(pieces)))


def test_the_first_token_is_the_first_text_and_not_the_role() -> None:
    record = read(OPENING, HELLO, HELLO, STOP, USAGE, DONE)
    assert record.error is None
    assert record.ttft_s == 2.0
    assert list(record.gaps_s) == [1.0]
    assert record.end_to_end_s == 6.0


def test_counts_come_from_usage_and_not_from_chunks() -> None:
    record = read(*WHOLE)
    assert (record.prompt_tokens, record.completion_tokens) == (7, 3)
    assert record.itl_s == pytest.approx(2.0 / 2)  # two seconds between first and last text, three tokens


def test_without_usage_the_counts_are_unknown() -> None:
    record = read(TEXT, STOP, DONE)
    assert record.error is None
    assert record.completion_tokens is None
    assert record.itl_s is None


def test_a_server_that_sends_no_done_is_believed_where_it_is_known_for_it() -> None:
    answer = Answer(start_s=0.0, wants_done=False)
    answer.begin(200)
    answer.feed(HELLO + STOP, 1.0)
    assert answer.record(end_s=1.0).error is None
    broken = Answer(start_s=0.0, wants_done=False)
    broken.begin(200)
    broken.feed(HELLO, 1.0)
    assert broken.record(end_s=1.0).error == "the stream ended without a finish_reason"


def test_events_that_come_together_are_one_arrival() -> None:
    assert list(read(HELLO + HELLO + HELLO, HELLO, STOP + USAGE + DONE).gaps_s) == [1.0]


@given(cuts=st.lists(st.integers(0, len(b"".join(WHOLE)))), newline=st.sampled_from([b"\n", b"\r\n"]))
def test_events_may_be_split_anywhere(cuts: list[int], newline: bytes) -> None:
    body = b"".join(WHOLE).replace(b"\n", newline)
    edges = [0, *sorted(cuts), len(body)]
    record = read(*(body[start:end] for start, end in pairwise(edges)))
    assert record.error is None
    assert (record.prompt_tokens, record.completion_tokens) == (7, 3)
    assert record.first_s is not None


@pytest.mark.parametrize(
    ("pieces", "complaint"),
    [
        ((HELLO, ERROR), "error event: the engine failed"),
        ((HELLO, STOP), "the stream ended without [DONE]"),
        ((HELLO, DONE), "the stream ended without a finish_reason"),
        ((), "the stream ended without a finish_reason"),
        ((b"data: {broken\n\n", STOP, DONE), "an event is not a JSON object"),
        ((b"data: 12\n\n", STOP, DONE), "an event is not a JSON object"),
        ((b'data: {"error":"busy"}\n\n', STOP, DONE), "error event: busy"),
    ],
)
def test_a_stream_that_does_not_end_well_has_failed(pieces: tuple[bytes, ...], complaint: str) -> None:
    assert read(*pieces).error == complaint


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ((b'{"error":{"mess', b'age":"busy"}}'), "HTTP 503: busy"),
        ((b"<html>", b"no</html>"), "HTTP 503: <html>no</html>"),
        ((b'{"detail":"no"}',), 'HTTP 503: {"detail":"no"}'),
    ],
)
def test_an_http_error_has_failed_with_the_servers_words(body: tuple[bytes, ...], complaint: str) -> None:
    record = read(*body, status=503)
    assert record.error == complaint
    assert record.ttft_s is None
