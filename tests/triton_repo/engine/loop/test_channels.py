"""Channels are leases, and outlets flush on one clock."""

from __future__ import annotations

from tests.triton_repo.engines_under_test import RecordingSink
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import CHANNEL_LEASE_S
from triton_repo.engine.loop.channels import Channels
from triton_repo.engine.loop.outlet import Live, Outlet
from triton_repo.engine.loop.stream import Stream
from triton_repo.engine.request import EngineRequest


def live(key: int, outlet: Outlet) -> Live:
    request = EngineRequest([1], 8, (2,), Sampling(), stream=True)
    return Live(key, str(key), Stream(str(key), request), RecordingSink(), outlet)


def gain(live: Live, token_id: int) -> None:
    live.stream.accept([token_id], "")
    live.outlet.note(live)


def test_a_channel_expires_unless_it_is_renewed() -> None:
    channels = Channels()
    for name in "ab":
        channels.open(name, RecordingSink(), now_s=100.0)
    channels.renew("a", now_s=104.0)
    channels.renew("absent", now_s=104.0)
    assert channels.expired(100.0 + CHANNEL_LEASE_S - 0.001) == []
    assert channels.expired(100.0 + CHANNEL_LEASE_S) == ["b"]
    assert channels.expired(104.0 + CHANNEL_LEASE_S) == ["a", "b"]
    channels.pop("a")
    assert list(channels) == ["b"]


def test_first_tokens_leave_at_once_and_later_ones_together_at_the_next_flush() -> None:
    outlet = Outlet(RecordingSink())
    old, new = live(1, outlet), live(2, outlet)
    gain(old, 11)
    assert outlet.due_s(1.0) == 0.0
    assert outlet.take_due(10.0, 1.0) == [old]
    old.stream.take()
    gain(old, 12)
    assert outlet.due_s(1.0) == 11.0
    gain(new, 21)
    assert outlet.due_s(1.0) == 0.0
    assert outlet.take_due(10.5, 1.0) == [new]
    new.stream.take()
    gain(new, 22)
    assert outlet.due_s(1.0) == 11.0, "a first token does not put off the others"
    assert outlet.take_due(11.0, 1.0) == [old, new]
    assert outlet.due_s(1.0) is None


def test_a_first_token_alone_starts_the_clock_anew() -> None:
    outlet = Outlet(RecordingSink())
    only = live(1, outlet)
    gain(only, 11)
    assert outlet.take_due(10.0, 1.0) == [only]
    only.stream.take()
    gain(only, 12)
    assert outlet.due_s(1.0) == 11.0


def test_who_is_forgotten_leaves_nothing_urgent_behind() -> None:
    outlet = Outlet(RecordingSink())
    old, new = live(1, outlet), live(2, outlet)
    gain(old, 11)
    outlet.take_due(10.0, 1.0)
    old.stream.take()
    gain(old, 12)
    gain(new, 21)
    outlet.forget(new)
    assert outlet.due_s(1.0) == 11.0


def test_who_is_forgotten_is_not_sent() -> None:
    outlet = Outlet(RecordingSink())
    only = live(1, outlet)
    gain(only, 11)
    outlet.forget(only)
    assert outlet.due_s(1.0) is None
