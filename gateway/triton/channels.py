"""The channels on which a gateway gets the deltas of its requests: one for each engine, as long as it is in use."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from gateway.triton.wire import renew_request, stop_request, subscribe_request

# An ensemble of Triton 2.51 keeps each message, and about 1 kB more, until the request that it answers has ended.
MAX_MESSAGES: Final = 10_000
MAX_BYTES: Final = 16 * 2**20
_RENEWAL: Final = "renew:"


@dataclass(slots=True, eq=False)
class Channel:
    """A channel of the ensemble `model`, and what has arrived on it."""

    name: str
    model: str
    num_messages: int = 0
    num_bytes: int = 0

    @property
    def has_carried_its_share(self) -> bool:
        return self.num_messages >= MAX_MESSAGES or self.num_bytes >= MAX_BYTES


class Channels:
    """Opens, renews and ends channels by messages to Triton, which go to `send`."""

    def __init__(self, send: Callable[[Any], None]) -> None:
        self._send = send
        self._open: dict[str, Channel] = {}  # by name
        self._latest: dict[str, Channel] = {}  # by model: the channel of its next request

    def to(self, model: str) -> Channel:
        """The channel for a new request; it replaces one that has carried its share."""
        channel = self._latest.get(model)
        if channel is None or channel.has_carried_its_share:
            channel = self._latest[model] = Channel(f"channel-{uuid.uuid4().hex}", model)
            self._open[channel.name] = channel
            self._send(subscribe_request(model, channel.name))
        return channel

    def count(self, name: str, num_bytes: int) -> None:
        """Count a message that has arrived; it may be another request's than a channel's."""
        if channel := self._open.get(name):
            channel.num_messages += 1
            channel.num_bytes += num_bytes

    def renew_or_end(self, in_use: Collection[Channel]) -> None:
        """Renew the leases of those that are in use, and end the others."""
        for channel in list(self._open.values()):
            if channel in in_use:
                self._send(renew_request(channel.model, channel.name, _RENEWAL + channel.name))
            else:
                self.end(channel)

    def end(self, channel: Channel) -> None:
        self.forget(channel.name)
        self._send(stop_request(channel.model, channel.name))

    def forget(self, name: str) -> Channel | None:
        """Remove a channel that has ended; None if there is none of this name. The next request opens another."""
        channel = self._open.pop(name, None)
        if channel is not None and self._latest.get(channel.model) is channel:
            del self._latest[channel.model]
        return channel

    def forget_all(self, model: str) -> list[Channel]:
        """Remove the channels of an engine that is not there any more."""
        channels = [channel for channel in self._open.values() if channel.model == model]
        for channel in channels:
            self.forget(channel.name)
        return channels

    def renewed(self, id: str) -> Channel | None:
        """The open channel whose renewal has this id."""
        return self._open.get(id.removeprefix(_RENEWAL)) if id.startswith(_RENEWAL) else None
