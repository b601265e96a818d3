"""What is asked of an engine that does not answer."""

from __future__ import annotations

import asyncio
import socket

from launch.health.engine_calls import EngineCalls
from launch.kserve import TritonAccess

MANY = 40  # more than asyncio has threads of its own
WAIT_S = 60


def test_calls_that_nobody_answers_keep_nothing_else_from_running() -> None:
    async def main(calls: EngineCalls) -> int:
        waiting = [asyncio.ensure_future(calls.refresh_adapters("demo")) for _ in range(MANY)]
        await asyncio.sleep(0)
        number = await asyncio.wait_for(asyncio.to_thread(lambda: 7), WAIT_S)
        assert not any(call.done() for call in waiting)
        for call in waiting:
            call.cancel()
        return number

    with socket.create_server(("127.0.0.1", 0), backlog=MANY) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert asyncio.run(main(EngineCalls(TritonAccess((), url, "")))) == 7


def test_a_server_that_has_gone_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    assert asyncio.run(EngineCalls(TritonAccess((), url, "")).refresh_adapters("demo")) is None
