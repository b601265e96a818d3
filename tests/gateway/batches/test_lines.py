"""Which lines of an input file are requests, and what the others are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.batches.batch import LineError
from gateway.batches.lines import Line, answered, failed, read_line
from triton_repo.contract.errors import InvalidRequest

CHAT = "/v1/chat/completions"


def line(**changes: Any) -> bytes:
    fields = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "demo"}, **changes}
    return json.dumps(fields).encode()


def test_a_request_is_read_with_its_number() -> None:
    assert read_line(3, line(), CHAT) == Line(3, "a", b'{"model":"demo"}')


@pytest.mark.parametrize("text", [b"", b"  ", b"\r"])
def test_an_empty_line_is_no_request(text: bytes) -> None:
    assert read_line(1, text, CHAT) is None


@pytest.mark.parametrize(
    ("text", "code", "param", "words"),
    [
        (b"{", "invalid_json_line", None, "not valid JSON"),
        (b"[" * 100_000, "invalid_json_line", None, "not valid JSON"),
        (b"[]", "invalid_request", None, "must be a JSON object"),
        (line(custom_id=None), "invalid_request", "custom_id", "a string of 1 to 512 characters"),
        (line(custom_id="x" * 513), "invalid_request", "custom_id", "a string of 1 to 512 characters"),
        (line(method="GET"), "invalid_request", "method", "must be POST"),
        (line(url="/v1/completions"), "mismatched_endpoint", "url", f"must be {CHAT}"),
        (line(body=[]), "invalid_request", "body", "a JSON object is required"),
        (line(body={"stream": True}), "invalid_request", "body", "stream must not be true"),
    ],
)
def test_what_is_no_request_is_told_why(text: bytes, code: str, param: str | None, words: str) -> None:
    error = read_line(7, text, CHAT)
    assert isinstance(error, LineError)
    assert (error.code, error.param, error.line) == (code, param, 7)
    assert words in error.message


@given(st.binary(max_size=200))
def test_no_bytes_raise(text: bytes) -> None:
    assert read_line(1, text, CHAT) is None or isinstance(read_line(1, text, CHAT), LineError)


def test_answers_and_errors_are_lines_of_json() -> None:
    of = Line(1, "ä\n", b"{}")
    done = json.loads(answered(of, "id", b'{"object":"chat.completion"}').removesuffix(b"\n"))
    assert done == {
        "id": "batch_req_id",
        "custom_id": "ä\n",
        "response": {"status_code": 200, "request_id": "id", "body": {"object": "chat.completion"}},
        "error": None,
    }
    rejected = json.loads(failed(of, "id", InvalidRequest("temperature = 9: too hot", "temperature")))
    assert rejected["response"]["status_code"] == 400
    assert rejected["response"]["body"]["error"]["param"] == "temperature"
