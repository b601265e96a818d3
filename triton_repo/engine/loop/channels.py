"""Channels: long-lived requests on which a client gets the deltas of all its other requests.

A channel is a lease, because Triton does not tell an engine that the client of an ensemble has gone. A client that is
alive renews it in time; when it expires, the requests on that channel are cancelled, since nothing reads them any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from triton_repo.contract.tensors import CHANNEL_LEASE_S
from triton_repo.engine.loop.outlet import Outlet, Sink


@dataclass(slots=True)
class _Channel:
    outlet: Outlet
    expires_s: float


class Channels:
    """The open channels by name. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel] = {}

    def open(self, name: str, sink: Sink, now_s: float) -> None:
        self._channels[name] = _Channel(Outlet(sink), now_s + CHANNEL_LEASE_S)

    def renew(self, name: str, now_s: float) -> None:
        """Extend the lease; does nothing if the channel is not open any more."""
        if name in self._channels:
            self._channels[name].expires_s = now_s + CHANNEL_LEASE_S

    def get(self, name: str) -> Outlet | None:
        channel = self._channels.get(name)
        return None if channel is None else channel.outlet

    def pop(self, name: str) -> Outlet:
        return self._channels.pop(name).outlet

    def expired(self, now_s: float) -> list[str]:
        return [name for name, channel in self._channels.items() if channel.expires_s <= now_s]

    def __contains__(self, name: str) -> bool:
        return name in self._channels

    def __iter__(self) -> Iterator[str]:
        """A snapshot: channels may be removed during the iteration."""
        return iter(list(self._channels))

    def __len__(self) -> int:
        return len(self._channels)
