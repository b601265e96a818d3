"""Which channel a request rides on, and how long each is kept."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.triton.channels import MAX_BYTES, Channels
from triton_repo.contract.tensors import RENEW, SUBSCRIBE


class Sent(list[Any]):
    """What went to Triton, in words."""

    @property
    def words(self) -> list[str]:
        return [_word(request) for request in self]


def _word(request: Any) -> str:
    if SUBSCRIBE in request.parameters:
        return f"open {request.id}"
    if RENEW in request.parameters:
        return f"renew {request.parameters[RENEW].string_param}"
    return f"end {request.id}"


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def channels(sent: Sent) -> Channels:
    return Channels(sent.append)


def test_each_engine_has_one_that_its_requests_share(channels: Channels, sent: Sent) -> None:
    first, other, again = channels.to("a"), channels.to("b"), channels.to("a")
    assert (first.model, other.model) == ("a", "b")
    assert again is first
    assert sent.words == [f"open {first.name}", f"open {other.name}"]


def test_one_that_has_carried_large_messages_is_replaced_after_fewer(channels: Channels) -> None:
    old = channels.to("a")
    channels.count(old.name, MAX_BYTES - 1)
    assert channels.to("a") is old
    channels.count(old.name, 1)
    assert channels.to("a") is not old


def test_one_that_has_carried_its_share_is_replaced_and_kept_while_it_is_used(
    channels: Channels, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.triton.channels.MAX_MESSAGES", 2)
    old = channels.to("a")
    for name in (old.name, "some request", old.name):
        assert channels.to("a") is old
        channels.count(name, 10)
    new = channels.to("a")
    assert new is not old
    channels.renew_or_end({old, new})
    channels.renew_or_end({new})
    assert sent.words[1:] == [
        f"open {new.name}",
        f"renew {old.name}",
        f"renew {new.name}",
        f"end {old.name}",
        f"renew {new.name}",
    ]
    assert channels.to("a") is new


def test_the_end_of_one_that_was_replaced_leaves_its_successor(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.triton.channels.MAX_MESSAGES", 1)
    old = channels.to("a")
    channels.count(old.name, 10)
    new = channels.to("a")
    assert channels.forget(old.name) is old
    assert channels.forget(old.name) is None
    assert channels.to("a") is new
