"""The spans of what one process of a model does with requests whose gateway traces them.

A request names the span that is its parent as W3C's `traceparent`, in the request parameter of that name: the headers
of the gateway's gRPC stream are those of all its requests. A request without one costs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from triton_repo.tracing import conventions as names
from triton_repo.tracing.otlp import Otlp

ENDPOINT_VARIABLE: Final = "CONCH_OTLP_ENDPOINT"
TRACEPARENT: Final = "traceparent"  # the request parameter
_CONTEXT_INTS: Final = 6  # a context between two steps of an ensemble: trace id and span id, as 32-bit integers


class Step:
    """What happens to one request in one process. This one is not traced; see `TracedStep`."""

    def enter(self, phase: str) -> None:
        """The phase before it ends where this one begins."""

    def context(self) -> Sequence[int]:
        """For `Steps.below`, in the process that gets this one's work; empty where nothing is traced."""
        return ()

    def end(self, error: str = "") -> None:
        """`error` is the code of what ended it, "" for its own end."""


UNTRACED: Final = Step()


class Steps:
    """Those of one process; `otlp` is None where traces are off."""

    def __init__(self, otlp: Otlp | None) -> None:
        self._otlp = otlp

    def begin(self, name: str, parameters: Mapping[str, Any], request_id: str, phase: str = "") -> Step:
        parent = parameters.get(TRACEPARENT)
        if self._otlp is None or not isinstance(parent, str):
            return UNTRACED
        return TracedStep(self._otlp, name, parent, request_id, phase)

    @contextmanager
    def below(self, contexts: Sequence[int], name: str) -> Iterator[None]:
        """Around work on messages of requests with these contexts."""
        parents = [_to_traceparent(contexts[at : at + _CONTEXT_INTS]) for at in range(0, len(contexts), _CONTEXT_INTS)]
        spans = [self._otlp.begin(name, parent, at_ns=time.time_ns()) for parent in parents] if self._otlp else []
        try:
            yield
        finally:
            for span in spans:
                span.end()

    def close(self) -> None:
        if self._otlp is not None:
            self._otlp.close()


class TracedStep(Step):
    """A span, which begins now, and below it those of its phases."""

    def __init__(self, otlp: Otlp, name: str, parent: str, request_id: str, phase: str) -> None:
        began_ns = time.time_ns()
        self._otlp = otlp
        self._span = otlp.begin(name, parent, at_ns=began_ns)
        self._span.set_attribute(names.REQUEST_ID, request_id)
        self._phases = [(phase, began_ns)] if phase else []

    def enter(self, phase: str) -> None:
        self._phases.append((phase, time.time_ns()))

    def context(self) -> Sequence[int]:
        return _to_ints(self._otlp.traceparent(self._span))

    def end(self, error: str = "") -> None:
        now_ns = time.time_ns()
        ends_ns = [begin_ns for _, begin_ns in self._phases[1:]] + [now_ns]
        for (phase, begin_ns), end_ns in zip(self._phases, ends_ns, strict=False):
            self._otlp.below(self._span, phase, begin_ns, end_ns)
        if error:
            self._otlp.fail(self._span, error)
        self._span.end(now_ns)


def steps_of_process() -> Steps:
    """Sent to the receiver that the environment names, as `conch serve` sets it."""
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    return Steps(Otlp(endpoint, "conch.triton") if endpoint else None)


def _to_ints(traceparent: str) -> list[int]:
    """Trace id and span id of a `traceparent` as 32-bit integers, the form in which tensors of ids are sent."""
    if not traceparent:
        return []
    _, trace_id, span_id, _ = traceparent.split("-")
    content = bytes.fromhex(trace_id + span_id)
    return [int.from_bytes(content[at : at + 4], "big", signed=True) for at in range(0, len(content), 4)]


def _to_traceparent(ints: Sequence[int]) -> str:
    digits = b"".join(each.to_bytes(4, "big", signed=True) for each in ints).hex()
    return f"00-{digits[:32]}-{digits[32:]}-01"
