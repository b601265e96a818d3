"""The bytes on the wire, exactly."""

from __future__ import annotations

from gateway.dialects.openai.chat import ChatShape
from gateway.dialects.openai.completions import CompletionShape
from gateway.dialects.openai.shape import Head, Piece, Usage
from gateway.dialects.openai.sse import DONE, Chunks, error_event
from triton_repo.contract.errors import ContextLengthExceeded

HEAD = Head("ID", 1700000000, "demo", "fp_1")

CHAT_ROLE = (
    b'data: {"id":"ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
CHAT_TEXT = (
    b'data: {"id":"ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"a \\"conch\\"\\n\xf0\x9f\x90\x9a"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
CHAT_FINISH = (
    b'data: {"id":"ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}\n\n'
)
CHAT_TEXT_WITH_USAGE = (
    b'data: {"id":"ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":1,"delta":{"content":"x"},'
    b'"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
)
CHAT_USAGE = (
    b'data: {"id":"ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,'
    b'"prompt_tokens_details":{"cached_tokens":1}}}\n\n'
)
COMPLETION_TEXT_AND_FINISH = (
    b'data: {"id":"ID","object":"text_completion","created":1700000000,"choices":[{"text":"x","index":0,'
    b'"logprobs":null,"finish_reason":null}],"model":"demo","system_fingerprint":"fp_1"}\n\n'
    b'data: {"id":"ID","object":"text_completion","created":1700000000,"choices":[{"text":"","index":0,'
    b'"logprobs":null,"finish_reason":"stop"}],"model":"demo","system_fingerprint":"fp_1"}\n\n'
)
ERROR = (
    b'data: {"error":{"message":"too long","type":"invalid_request_error","param":"messages",'
    b'"code":"context_length_exceeded"}}\n\n'
)


def test_a_chat_stream_is_role_then_text_then_finish_then_done() -> None:
    chunks = Chunks(ChatShape(), HEAD, num_choices=1, include_usage=False)
    assert chunks.opening() == CHAT_ROLE
    assert chunks.piece(Piece(0, 'a "conch"\n🐚', None)) == CHAT_TEXT
    assert chunks.piece(Piece(0, "", "length")) == CHAT_FINISH
    assert chunks.closing(Usage(3, 2)) == DONE == b"data: [DONE]\n\n"


def test_usage_is_null_in_every_chunk_but_the_last() -> None:
    chunks = Chunks(ChatShape(), HEAD, num_choices=2, include_usage=True)
    assert chunks.opening().count(b'"usage":null}\n\n') == 2
    assert chunks.piece(Piece(1, "x", None)) == CHAT_TEXT_WITH_USAGE
    assert chunks.closing(Usage(3, 2, 1)) == CHAT_USAGE + DONE


def test_a_completion_stream_has_no_role_and_ends_with_an_empty_text() -> None:
    chunks = Chunks(CompletionShape(), HEAD, num_choices=1, include_usage=False)
    assert chunks.opening() == b""
    assert chunks.piece(Piece(0, "x", "stop")) == COMPLETION_TEXT_AND_FINISH


def test_a_piece_without_text_and_end_is_no_event() -> None:
    assert Chunks(ChatShape(), HEAD, num_choices=1, include_usage=False).piece(Piece(0, "", None)) == b""


def test_an_error_is_an_event_of_its_own() -> None:
    assert error_event(ContextLengthExceeded("too long", "messages")) == ERROR


def test_text_that_looks_like_the_frame_stays_text() -> None:
    chunks = Chunks(ChatShape(), HEAD, num_choices=1, include_usage=False)
    event = chunks.piece(Piece(0, "\n\ndata: [DONE]\n\n\x00text\x00", None))
    assert event.count(b"\n") == 2
    assert b'{"content":"\\n\\ndata: [DONE]\\n\\n\\u0000text\\u0000"}' in event
