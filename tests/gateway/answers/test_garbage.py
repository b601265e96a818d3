"""What a request leaves behind is freed as it ends: collections that have something to find are long and frequent."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.gateway.bodies import CHAT, chat, post
from tests.gateway.scripted_backend import HANG, ScriptedBackend, Step, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed

WHOLE: tuple[Step, ...] = (delta("Hello"), delta(" world", "stop", 2))


@contextmanager
def gathering_garbage() -> Iterator[list[Any]]:
    """What nobody refers to after the block and only a collection has found."""
    gc.collect()
    gc.disable()
    found: list[Any] = []
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    ("script", "fields"),
    [
        (WHOLE, {}),
        (WHOLE, {"stream": True}),
        (WHOLE, {"stream": True, "n": 3}),
        (WHOLE, {"stream": True, "stop": ["wor"]}),
        ((EngineFailed("broken"),), {"stream": True}),
        ((delta("Hello"), EngineFailed("broken")), {"stream": True}),
    ],
)
def test_a_request_that_has_ended_leaves_nothing_to_the_garbage_collector(
    script: tuple[Step, ...], fields: dict[str, Any]
) -> None:
    with serving(ScriptedBackend(script)) as gateway, httpx.Client(base_url=gateway.url) as client:
        post(client, CHAT, chat(**fields))  # what is made once is not its garbage
        with gathering_garbage() as garbage:
            for _ in range(3):
                post(client, CHAT, chat(**fields))
    assert ours(garbage) == []


def test_a_client_that_leaves_leaves_nothing_to_the_garbage_collector() -> None:
    backend = ScriptedBackend([delta("Hello"), HANG])
    with serving(backend) as gateway:
        gateway.post_unread(CHAT, chat(stream=True)).close()
        backend.wait_for_cancels(1)
        with gathering_garbage() as garbage:
            for count in (2, 3):
                gateway.post_unread(CHAT, chat(stream=True)).close()
                backend.wait_for_cancels(count)
            httpx.get(f"{gateway.url}/health/live")
    assert ours(garbage) == []


def ours(garbage: list[Any]) -> list[Any]:
    return [one for one in garbage if type(one).__module__.startswith("gateway.")]
