"""One response, as server-sent events or whole. The whole one is what the last event of its stream brings."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count

import orjson

from gateway.answers.events import Event, Finish, Usage, WholeAnswer
from gateway.dialects.dialect import Head
from gateway.dialects.openai.chunks import DONE, one_line
from gateway.dialects.responses.events import LifecycleType, ResponseEvent
from gateway.dialects.responses.output import Output
from gateway.dialects.responses.resource import (
    Echo,
    FailureCode,
    Response,
    ResponseError,
    ResponseStatus,
    ResponseUsage,
)
from triton_repo.contract.errors import InvalidRequest, RequestError


class ResponsesEncoder:
    """
    Args:
        echo: the fields of a response that say what was asked for.
        is_queued: it has told its client that it waits.
    """

    def __init__(self, head: Head, echo: Echo, is_queued: bool = False) -> None:
        self.response: Response = new_response(head, echo, "queued" if is_queued else "in_progress")
        self._numbers = count()
        custom = frozenset(tool["name"] for tool in echo["tools"] if tool["type"] == "custom")
        self._output = Output(head.id, self._numbers, custom)
        self._usage_so_far = head.usage
        self._is_queued = is_queued
        self._reason = "stop"
        self.has_started = False

    def start(self) -> bytes:
        self.has_started = True
        created = self._lifecycle("response.created")
        if self._is_queued:
            created += self._lifecycle("response.queued")
            self.response["status"] = "in_progress"
        return created + self._lifecycle("response.in_progress")

    def event(self, event: Event) -> bytes:
        if isinstance(event, Usage):
            self.response["usage"] = usage_json(event)
            return b""
        if isinstance(event, Finish):
            self._reason = event.reason
        return self._sent(self._output.add(event))

    def finish(self) -> bytes:
        self._complete()
        is_cut = self.response["status"] == "incomplete"
        return self._lifecycle("response.incomplete" if is_cut else "response.completed") + DONE

    def fail(self, error: RequestError) -> bytes:
        """No other event of an error: a client may take both for an end."""
        ended = self._sent(self._output.end("incomplete"))
        usage = self._usage_so_far()
        self.response |= {
            "status": "failed",
            "completed_at": None,
            "output": self._output.items,
            "error": failure(error),
            "usage": usage_json(usage) if usage.prompt_tokens else None,
        }
        return ended + self._lifecycle("response.failed") + DONE

    def whole(self, answer: WholeAnswer) -> bytes:
        for event in answer.events:
            self.event(event)
        self._complete()
        return orjson.dumps(self.response)

    def _complete(self) -> None:
        self.response["output"] = self._output.items
        if self._reason == "length":
            self.response |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        else:
            self.response |= {"status": "completed", "completed_at": int(time.time())}

    def _lifecycle(self, type: LifecycleType) -> bytes:
        return event_bytes({"type": type, "sequence_number": next(self._numbers), "response": self.response})

    def _sent(self, events: Iterable[ResponseEvent]) -> bytes:
        return b"".join(map(event_bytes, events))


def event_bytes(event: ResponseEvent) -> bytes:
    """A server-sent event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), one_line(orjson.dumps(event)))


def response_id(request_id: str) -> str:
    return f"resp_{request_id}"


def new_response(head: Head, echo: Echo, status: ResponseStatus) -> Response:
    """A response of which nothing is known yet but what it was asked for."""
    return {
        "id": response_id(head.id),
        "object": "response",
        "created_at": head.created,
        "completed_at": None,
        "status": status,
        "model": head.model,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        **echo,
    }


def usage_json(usage: Usage) -> ResponseUsage:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def failure(error: RequestError) -> ResponseError:
    code: FailureCode = "server_error"
    if isinstance(error, InvalidRequest):
        code = "invalid_prompt"
    elif error.status == 429:
        code = "rate_limit_exceeded"
    return {"code": code, "message": error.message, "param": error.param, "type": error.code or error.type}
