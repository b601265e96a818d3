"""One streamed answer, read as it comes: OpenAI's server-sent events, and when each of them came."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

_SHOWN: Final = 200  # characters of a server's complaint


@dataclass(frozen=True, slots=True)
class Record:
    """What one request did. Times are seconds on the client's monotonic clock; token counts are the server's own.

    Attributes:
        start_s: when the request was due. In an open loop a client that lags is part of what is measured.
        sent_s: when the client wrote it to its socket, or None if it never did: what it lags by.
        first_s, last_s: arrival of the first and of the last chunk that brought text; None if there was none.
        gaps_s: times between two such chunks. A chunk may hold several tokens.
        prompt_tokens, completion_tokens: None where the server reports no usage.
        error: why it failed, or None.
    """

    start_s: float
    end_s: float
    first_s: float | None = None
    last_s: float | None = None
    gaps_s: Sequence[float] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    sent_s: float | None = None

    @property
    def ttft_s(self) -> float | None:
        """Time to first token, as far as a client can see it: to the first chunk with text."""
        return None if self.first_s is None else self.first_s - self.start_s

    @property
    def itl_s(self) -> float | None:
        """The mean time between two tokens of this answer after the first chunk."""
        if self.first_s is None or self.last_s is None or (self.completion_tokens or 0) < 2:
            return None
        return (self.last_s - self.first_s) / ((self.completion_tokens or 0) - 1)

    @property
    def end_to_end_s(self) -> float:
        return self.end_s - self.start_s


class Answer:
    """Fed with an HTTP response in pieces of any size, split anywhere; gives the record at its end.

    Every event is parsed: a millionth of a second, and an error event or a missing end is never taken for success.
    """

    def __init__(self, start_s: float, wants_done: bool = True) -> None:
        self._start_s = start_s
        self._wants_done = wants_done
        self._sent_s: float | None = None
        self._status = 0
        self._rest = b""  # an unfinished line, or the whole body of an answer that is no stream
        self._first_s: float | None = None
        self._last_s = 0.0
        self._gaps_s = array("d")
        self._usage: dict[str, Any] = {}
        self._finished = self._done = False
        self._error: str | None = None

    def sent(self, now_s: float) -> None:
        self._sent_s = now_s

    def begin(self, status: int) -> None:
        self._status = status

    def feed(self, body: bytes, now_s: float) -> None:
        if self._status != 200:
            self._rest += body
            return
        *lines, self._rest = (self._rest + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now_s)

    def record(self, end_s: float, error: str | None = None) -> Record:
        """The record of a response that is over, whole or, with `error`, broken off."""
        return Record(
            start_s=self._start_s,
            end_s=end_s,
            first_s=self._first_s,
            last_s=None if self._first_s is None else self._last_s,
            gaps_s=self._gaps_s,
            prompt_tokens=self._usage.get("prompt_tokens"),
            completion_tokens=self._usage.get("completion_tokens"),
            error=error or self._complaint(),
            sent_s=self._sent_s,
        )

    def _event(self, data: bytes, now_s: float) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        event = _object(data)
        if event is None:
            self._error = self._error or "an event is not a JSON object"
            return
        if error := event.get("error"):
            self._error = self._error or f"error event: {_message(error)}"
        self._usage = event.get("usage") or self._usage
        choices = event.get("choices") or ()
        self._finished = self._finished or any(choice.get("finish_reason") for choice in choices)
        if any(_has_text(choice) for choice in choices):
            self._arrived(now_s)

    def _arrived(self, now_s: float) -> None:
        """Several events that one read brings are one arrival: nobody could have shown them one by one."""
        if self._first_s is None:
            self._first_s = now_s
        elif now_s > self._last_s:
            self._gaps_s.append(now_s - self._last_s)
        self._last_s = now_s

    def _complaint(self) -> str | None:
        if self._status != 200:
            return f"HTTP {self._status}: {_body_message(self._rest)}"
        if self._error is None and not self._finished:
            return "the stream ended without a finish_reason"
        if self._error is None and self._wants_done and not self._done:
            return "the stream ended without [DONE]"
        return self._error


def _has_text(choice: dict[str, Any]) -> bool:
    """Whether a choice of a chunk brings anything generated: a chat's opening chunk has a role only."""
    if choice.get("text"):
        return True
    delta = choice.get("delta") or {}
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))


def _body_message(body: bytes) -> str:
    error = (_object(body) or {}).get("error")
    return _message(error) if error else body[:_SHOWN].decode(errors="replace")


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _message(error: Any) -> str:
    return str(error.get("message") if isinstance(error, dict) else error)[:_SHOWN]
