"""Requests that wait together become rows of few messages to Triton."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from gateway.answers.backend import Chat, Generation, Prompt, PromptIds, PromptText
from gateway.triton.wire import Row, batches, infer_request, pack_row
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import MAX_ROWS

HELLO = PromptText("Hello")


def row(
    id: str,
    prompt: Prompt = HELLO,
    model: str = "demo",
    channel: str = "channel",
    stream: bool = True,
    **sampling: Any,
) -> Row:
    return pack_row(Generation(id, model, prompt, Sampling(**sampling), stream), channel)


def ids(rows: list[Row]) -> list[list[str]]:
    return [[one.request_id for one in batch] for batch in batches(rows)]


def test_alike_requests_are_together_whatever_came_between() -> None:
    rows = [
        row("a", max_tokens=1),
        row("b"),
        row("c", PromptText("another prompt"), max_tokens=7, stream=False),
        row("d"),
    ]
    assert ids(rows) == [["a", "c"], ["b", "d"]]


@pytest.mark.parametrize(
    "other",
    [
        row("b", model="other"),
        row("b", channel="other"),
        row("b", Chat(b"{}")),
        row("b", PromptIds.of([1])),
        row("b", temperature=0.5),
        row("b", ignore_eos=True),
        row("b", stop_token_ids=[7]),
    ],
)
def test_requests_with_other_tensors_or_parameters_are_not_alike(other: Row) -> None:
    assert ids([row("a"), other]) == [["a"], ["b"]]


def test_prompts_of_ids_are_alike_if_they_are_as_long() -> None:
    assert ids([row("a", PromptIds.of([1, 2])), row("b", PromptIds.of([3])), row("c", PromptIds.of([4, 5]))]) == [
        ["a", "c"],
        ["b"],
    ]


def test_a_long_text_is_beside_none_that_would_wait_for_it() -> None:
    rows = [
        row("a"),
        row("b", PromptText("x" * 100_000)),
        row("c", PromptText("y" * 3_000)),
        row("d", PromptText("z" * 90_000)),
    ]
    assert ids(rows) == [["a", "c"], ["b", "d"]]


def test_a_row_that_takes_long_is_sent_alone() -> None:
    alone = [pack_row(Generation(id, "demo", HELLO, Sampling(), True), "channel", alone=True) for id in ("b", "c")]
    assert ids([row("a"), *alone, row("d")]) == [["a", "d"], ["b"], ["c"]]


def test_a_message_has_a_bounded_number_of_rows() -> None:
    assert [len(batch) for batch in ids([row(str(number)) for number in range(2 * MAX_ROWS + 1)])] == [
        MAX_ROWS,
        MAX_ROWS,
        1,
    ]


def test_each_row_has_its_own_values_and_the_message_an_id_of_its_own() -> None:
    rows = [
        row("a", max_tokens=1, min_p=0.5, seed=-1),
        row("b", PromptText("é"), stream=False, max_tokens=2, min_p=0.5, seed=1),
    ]
    request = infer_request(rows, "rows-1")
    tensors = dict(zip([tensor.name for tensor in request.inputs], request.raw_input_contents, strict=True))
    assert {tuple(tensor.shape) for tensor in request.inputs} == {(2, 1)}
    assert tensors == {
        "row_ids": b"\1\0\0\0a\1\0\0\0b",
        "text_input": b"\5\0\0\0Hello\2\0\0\0\xc3\xa9",
        "stream": b"\1\0",
        "max_tokens": struct.pack("<2i", 1, 2),
        "seed": b"\xff" * 8 + struct.pack("<Q", 1),
    }
    assert (request.id, request.parameters["min_p"].double_param) == ("rows-1", 0.5)


@pytest.mark.parametrize(
    ("prompts", "name", "length", "content"),
    [
        ((Chat(b"{}"), Chat(b"{1}")), "chat", 1, b"\2\0\0\0{}\3\0\0\0{1}"),
        ((PromptIds.of([1, 2]), PromptIds.of([3, 4])), "prompt_token_ids", 2, struct.pack("<4i", 1, 2, 3, 4)),
    ],
)
def test_prompts_of_every_kind_are_rows(prompts: Any, name: str, length: int, content: bytes) -> None:
    request = infer_request([row(str(number), prompt) for number, prompt in enumerate(prompts)], "rows-1")
    tensor = request.inputs[1]
    assert (tensor.name, list(tensor.shape), request.raw_input_contents[1]) == (name, [2, length], content)
