"""Several rows of one request: prepared, rejected, answered and ended each by itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.triton_repo.detokenize.tokenizers_under_test import byte_level
from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, from_wire
from triton_repo.contract.tensors import PADDING, split_rows
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.loop.rows import RowSink, SharedSink, row_ids
from triton_repo.engine.loop.stream import Emission
from triton_repo.preprocess.prompt import PromptEncoder
from triton_repo.preprocess.rows import prepare

ENCODER = PromptEncoder(byte_level(), None, max_seq_len=20)


def emission(request_id: str, finish_reason: str = "") -> Emission:
    return Emission(request_id, (5,), 0, finish_reason, 1, -1, 1)


def row_sinks(*names: str) -> tuple[RecordingSink, list[Sink]]:
    sink = RecordingSink()
    shared = SharedSink(sink, len(names))
    return sink, [RowSink(shared, name) for name in names]


def test_each_row_has_its_value_of_every_tensor() -> None:
    assert split_rows({"a": [[1], [2]], "b": [[3, 4], [5, 6]]}) == [{"a": [1], "b": [3, 4]}, {"a": [2], "b": [5, 6]}]
    assert split_rows({}) == [{}]


def test_prompts_are_padded_to_the_longest_and_keep_their_stop_words() -> None:
    rows: list[dict[str, Any]] = [
        {"prompt_token_ids": [7], "stop_words": [b"a"]},
        {"prompt_token_ids": [7, 8, 9], "stop_words": [b"b"]},
    ]
    prepared = prepare(rows, {}, ENCODER)
    assert prepared.input_ids == [[7, PADDING, PADDING], [7, 8, 9]]
    assert prepared.stop_sequences == [ENCODER.stop_sequences([b"a"]), ENCODER.stop_sequences([b"b"])]
    assert prepared.rejections == [None, None]


def test_rows_that_are_only_tokenized_have_their_texts() -> None:
    rows = [{"prompt_token_ids": [7] * 100}, {"prompt_token_ids": [10**6]}]
    prepared = prepare(rows, {"tokenize": "texts"}, ENCODER)
    assert len(prepared.input_ids[0]) == 100, "as no answer follows"
    assert len(json.loads(prepared.texts[0])["pieces"]) == 100
    assert isinstance(prepared.rejections[1], InvalidRequest)
    assert prepare(rows, {"tokenize": "ids"}, ENCODER).rejections == [None, None]
    with pytest.raises(InvalidRequest, match='tokenize = 1: "ids" or "texts" is required'):
        prepare(rows, {"tokenize": 1}, ENCODER)


def test_padding_that_a_client_sends_is_no_part_of_a_prompt() -> None:
    padded = [7] + [PADDING] * 24
    prepared = prepare([{"prompt_token_ids": [7] * 25}, {"prompt_token_ids": padded}], {}, ENCODER)
    assert (prepared.input_ids, prepared.rejections[1]) == ([[PADDING], [7]], None)


def test_a_request_says_whether_special_tokens_are_added() -> None:
    rows: list[dict[str, Any]] = [{"text_input": [b"a"]}, {"text_input": [b"b"]}]
    with_them = prepare(rows, {"add_special_tokens": True}, ENCODER)
    assert with_them.input_ids == prepare(rows, {}, ENCODER).input_ids
    with pytest.raises(InvalidRequest, match="add_special_tokens = 1: true or false is required") as caught:
        prepare(rows, {"add_special_tokens": 1}, ENCODER)
    assert caught.value.param == "add_special_tokens"


def test_a_rejected_row_has_no_ids_and_leaves_the_others_theirs() -> None:
    prepared = prepare([{"prompt_token_ids": [7] * 20}, {"prompt_token_ids": [7]}, {}], {}, ENCODER)
    assert prepared.input_ids == [[PADDING], [7], [PADDING]]
    assert [type(error) for error in prepared.rejections] == [ContextLengthExceeded, type(None), InvalidRequest]


def test_rows_that_are_all_rejected_are_still_rows() -> None:
    assert prepare([{}, {}], {}, ENCODER).input_ids == [[PADDING], [PADDING]]


def test_a_row_that_cannot_be_prepared_shows_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    prepared = prepare([{"text_input": [7]}, {"prompt_token_ids": [7]}], {}, ENCODER)
    assert [str(error) for error in prepared.rejections] == ["the prompt could not be prepared", "None"]
    assert "a prompt could not be prepared" in caplog.text


def test_the_rejection_of_a_single_row_is_that_of_the_request() -> None:
    with pytest.raises(InvalidRequest, match="exactly one"):
        prepare([{}], {}, ENCODER)


def test_the_request_ends_with_the_last_of_its_rows() -> None:
    sink, (a, b, c) = row_sinks("a", "b", "c")
    a.send([emission("a")], final=False)
    b.send([emission("b", "stop")], final=True)
    a.end()
    ended_before = sink.ends
    c.end()
    assert (ended_before, sink.ends) == (0, 1)
    assert [one.request_id for one in sink.emissions] == ["a", "b"]


def test_a_last_row_whose_answer_is_whole_ends_the_request_with_it() -> None:
    sink, (a, b) = row_sinks("a", "b")
    a.end()
    b.send([emission("b", "stop")], final=True)
    assert (sink.ends, len(sink.messages)) == (1, 1)


def test_a_row_that_fails_fails_alone_and_counts_as_ended() -> None:
    sink, (a, b) = row_sinks("a", "b")
    a.fail(EngineFailed("lost", "prompt"))
    b.send([emission("b", "stop")], final=True)
    failed, ended = sink.emissions
    error = from_wire(failed.finish_reason)
    assert (failed.request_id, list(failed.output_ids), ended.finish_reason) == ("a", [], "stop")
    assert isinstance(error, EngineFailed)
    assert (error.message, error.param) == ("lost", "prompt")
    assert (sink.errors, sink.ends) == ([], 1)


class ForgetfulSink(RecordingSink):
    """Loses what `lost` says of the messages that it is to send, by their number."""

    def __init__(self, *lost: int) -> None:
        super().__init__()
        self._lost = lost
        self._sent = 0

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        self._sent += 1
        if self._sent in self._lost:
            raise RuntimeError("the response sender is closed")
        super().send(emissions, final=final)


@pytest.mark.parametrize("lost", [(1,), (1, 2)])
def test_a_row_whose_messages_are_lost_ends_once_and_the_others_go_on(lost: tuple[int, ...]) -> None:
    sink = ForgetfulSink(*lost)
    shared = SharedSink(sink, 2)
    a, b = RowSink(shared, "a"), RowSink(shared, "b")
    with pytest.raises(RuntimeError):
        a.send([emission("a", "stop")], final=True)
    with suppress(RuntimeError):
        a.fail(EngineFailed("a part of the answer was lost"))
    ended_before = sink.ends
    b.send([emission("b", "stop")], final=True)
    assert (ended_before, sink.ends) == (0, 1)
    assert sink.emissions[-1].request_id == "b"


def test_rows_that_end_on_several_threads_end_the_request_once() -> None:
    sink, rows = row_sinks(*map(str, range(64)))

    def end(part: int) -> None:
        for row in rows[part::4]:
            row.end()

    threads = [threading.Thread(target=end, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.ends == 1


@pytest.mark.parametrize("second", [b"", b"a", b"x" * 257])
def test_rows_need_ids_of_their_own_of_a_bounded_length(second: bytes) -> None:
    with pytest.raises(InvalidRequest, match="row_ids: each of 2 rows needs an id of its own, of at most 256 bytes"):
        row_ids([{"row_ids": [b"a"]}, {"row_ids": [second]}], "batch")


def test_rows_without_ids_are_numbered() -> None:
    assert row_ids([{}, {}], "batch") == ["batch/0", "batch/1"]
    [first, second], [other, _] = row_ids([{}, {}], ""), row_ids([{}, {}], "")
    assert (first.rpartition("/")[2], second.rpartition("/")[2]) == ("0", "1")
    assert first != other, "requests without an id do not share those of their rows"


def test_ids_that_are_no_text_are_rejected() -> None:
    with pytest.raises(InvalidRequest, match="row_ids: not valid UTF-8"):
        row_ids([{"row_ids": [b"\xff"]}, {"row_ids": [b"\xfe"]}], "")
