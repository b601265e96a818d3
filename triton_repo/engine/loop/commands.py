"""What other threads ask of the engine loop, as values: the loop runs them between two steps, in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.request import EngineRequest


@dataclass(frozen=True, slots=True)
class Submit:
    """Begin a request; an empty `request_id` is a request that cannot be cancelled, an empty `channel` is none."""

    request_id: str
    request: EngineRequest
    sink: Sink
    channel: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Open a channel whose messages go to `sink`."""

    channel: str
    sink: Sink


@dataclass(frozen=True, slots=True)
class Renew:
    """Extend the lease of a channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Cancel a request, or end a channel and cancel the requests on it."""

    name: str


@dataclass(frozen=True, slots=True)
class AddAdapter:
    """Have requests find an adapter that is open (`AdaptingRuntime.open_adapter`)."""

    add: Callable[[], None]
    done: Future[bool]


@dataclass(frozen=True, slots=True)
class CloseAdapter:
    """Drop an adapter that no live request has, and tell whether that is so; `at_once`: those that have it fail."""

    name: str
    at_once: bool
    done: Future[bool]


@dataclass(frozen=True, slots=True)
class Wake:
    """Nothing more than a turn of the loop: an asynchronous runtime has something to hand over."""


@dataclass(frozen=True, slots=True)
class Close:
    """Fail what is live and end the loop."""


Command = Submit | Subscribe | Renew | Stop | AddAdapter | CloseAdapter | Wake | Close
