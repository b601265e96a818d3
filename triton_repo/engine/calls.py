"""What one Triton request to NAME_engine asks for, read from its tensors and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.tensors import REFRESH_ADAPTERS, RENEW, STOP, STOP_SEQUENCES, SUBSCRIBE, split_rows

Row = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Generate:
    """An answer to each row. The deltas of a single row carry the id of the Triton request."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Stop:
    """Cancel the request, or end the channel, of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Open a channel of that name, whose messages are responses of this request."""

    channel: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Extend the lease of a channel. The id of the Triton request plays no part in it."""

    channel: str


@dataclass(frozen=True, slots=True)
class RefreshAdapters:
    """Look which adapters the engine is to have. It says nothing of which: whoever may ask for this may ask often."""


Call = Generate | Stop | Subscribe | Renew | RefreshAdapters


def parse_call(id: str, tensors: Mapping[str, Sequence[Sequence[Any]]], parameters: Mapping[str, Any]) -> Call:
    """
    Args:
        id: that of the Triton request, "" if it has none.
        tensors: name -> values of each row.

    Raises:
        InvalidRequest: it stops a request or opens a channel, and has no id to name it.
    """
    rows = split_rows(tensors)
    if len(rows) > 1:
        return Generate(rows)
    if rows[0].get(STOP.name, [False])[0]:
        return Stop(_required(id, STOP.name))
    if RENEW in parameters:
        return Renew(str(parameters[RENEW]))
    if parameters.get(REFRESH_ADAPTERS):
        return RefreshAdapters()
    if parameters.get(SUBSCRIBE):
        return Subscribe(_required(id, SUBSCRIBE))
    return Generate(rows)


def is_direct(tensors: Mapping[str, Any]) -> bool:
    """Whether the client called NAME_engine itself: what comes through the ensemble has passed `preprocess`."""
    return STOP_SEQUENCES.name not in tensors


def _required(id: str, param: str) -> str:
    if not id:
        raise InvalidRequest(f"{param}: needs a request id", param)
    return id
