"""The bytes of OpenAI's server-sent events, of error bodies, and of usage and logprobs, which all its endpoints share.

Source of the formats: OpenAI's API reference, "Chat" and "Completions (legacy)"; the order of the keys is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.answers.events import Usage
from gateway.answers.tokens import Token
from gateway.dialects.dialect import Head
from gateway.dialects.openai.answers import tokens as answers
from gateway.dialects.openai.answers.error import ErrorBody
from triton_repo.contract.errors import RequestError

Json = dict[str, Any]

DONE: Final = b"data: [DONE]\n\n"
# JSON allows these characters raw in a string, but some clients' readers of lines take each for the end of a line.
_LINE_SEPARATORS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


class StreamEnd:
    """How the stream of every endpoint ends, complete or not."""

    _head: Head
    _chunks: Chunks

    def finish(self) -> bytes:
        return DONE

    def fail(self, error: RequestError) -> bytes:
        """The counts so far, if they were asked for, and the error."""
        usage = self._chunks.usage(self._head.usage())
        return usage + b"data: " + one_line(orjson.dumps(error_json(error))) + b"\n\n"


class Chunks:
    """Chunks of one streamed answer: all but their choices is encoded once, before the first token.

    With `include_usage` every chunk has `usage`: null, and one more chunk, without choices, has the counts.

    Args:
        before: the chunk's keys before `choices`; `after` those behind it, before `usage`.
        usage_so_far: every chunk has the counts at its time.
    """

    def __init__(
        self,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        include_usage: bool,
        usage_so_far: Callable[[], Usage] | None = None,
    ) -> None:
        self._before = b"data: " + orjson.dumps(before)[:-1] + b',"choices":['
        self._no_usage: Json = {"usage": None} if include_usage else {}
        self._after = self._rest({**after, **self._no_usage})
        self._keys_after = after
        self._include_usage = include_usage
        self._usage_so_far = usage_so_far

    def chunk(self, choice: bytes, more: Mapping[str, Any] | None = None) -> bytes:
        """The event of one choice, which is JSON; `more` keys stand beside the choices."""
        after = self._after
        if self._usage_so_far or more:
            usage = {"usage": usage_json(self._usage_so_far())} if self._usage_so_far else self._no_usage
            after = self._rest({**self._keys_after, **(more or {}), **usage})
        return self._before + one_line(choice) + after

    def usage(self, usage: Usage) -> bytes:
        """The event of the counts; none where they were not asked for."""
        if not self._include_usage:
            return b""
        return self._before + self._rest({**self._keys_after, "usage": usage_json(usage)})

    def _rest(self, keys: Mapping[str, Any]) -> bytes:
        return b"]" + (b"," + orjson.dumps(keys)[1:] if keys else b"}") + b"\n\n"


def one_line(json: bytes) -> bytes:
    """The same JSON without characters that any reader of lines breaks at."""
    if not json.isascii():
        for raw, escaped in _LINE_SEPARATORS:
            json = json.replace(raw, escaped)
    return json


def error_json(error: RequestError) -> ErrorBody:
    """The envelope of an error, as a body and as the last event of a stream: OpenAI's clients raise on it."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def usage_json(usage: Usage) -> answers.CompletionUsage:
    counts: answers.CompletionUsage = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def chat_logprobs(tokens: Sequence[Token] | None) -> answers.ChatLogprobs | None:
    """`choices[].logprobs` of a chat; None where they were not asked for."""
    if tokens is None:
        return None
    return {"content": [orjson.Fragment(token.entry) for token in tokens if token.is_listed], "refusal": None}


def completion_logprobs(tokens: Sequence[Token] | None) -> answers.CompletionLogprobs | None:
    """`choices[].logprobs` of a (legacy) completion: of each place the likeliest tokens, and the one that was taken."""
    if tokens is None:
        return None
    listed = [token for token in tokens if token.is_listed]
    entries = [orjson.loads(token.entry) for token in listed]
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [None if entry["logprob"] is None else _by_text(entry) for entry in entries],
        "text_offset": [token.start for token in listed],
    }


def _by_text(entry: Mapping[str, Any]) -> dict[str, float]:
    """Of two tokens with one text (parts of characters) the likelier is shown."""
    shown: dict[str, float] = {}
    for token in sorted([entry, *entry["top_logprobs"]], key=lambda token: token["logprob"], reverse=True):
        shown.setdefault(token["token"], token["logprob"])
    return shown
