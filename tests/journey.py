"""`python -m tests.journey [CHECKOUT]`: how many files a streamed chat enters, and how the folders lie.

The chat runs through a real gateway and a gRPC server in Triton's place. A move is a call from one file into another;
rooms, floors and arrows are those of `tests.layout`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

_ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
_BODY = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}


@dataclass
class Journey:
    """Calls into the project's own files, in order of the first call into each."""

    files: dict[str, None] = field(default_factory=dict)
    num_calls: int = 0
    num_moves: int = 0

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        file = _own_file(frame)
        if event == "call" and file:
            self.files.setdefault(file)
            self.num_calls += 1
            self.num_moves += _own_file(frame.f_back) != file


def _own_file(frame: FrameType | None) -> str:
    """Below the root and in a source folder; "" for any other."""
    name = frame.f_code.co_filename if frame else ""
    relative = name.removeprefix(f"{_ROOT}/")
    return relative if relative.startswith(("gateway/", "triton_repo/")) and relative != name else ""


@contextmanager
def _traced(journey: Journey) -> Iterator[None]:
    sys.setprofile(journey.note)
    try:
        yield
    finally:
        sys.setprofile(None)


async def _chat(port: int) -> None:
    content = json.dumps(_BODY).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    head += b"connection: close\r\ncontent-type: application/json\r\n"
    writer.write(head + b"content-length: %d\r\n\r\n" % len(content) + content)
    answer = await reader.read()
    assert answer.count(b"data: ") == 5, answer  # role, two texts, finish and [DONE]
    writer.close()


async def travel() -> Journey:
    """One streamed chat of two deltas, the second one of its gateway."""
    from gateway.app import create_app
    from gateway.processes.server import Server
    from gateway.settings import Settings
    from tests.gateway.scripted_backend import CARD
    from tests.gateway.scripted_triton import ScriptedTriton, connected, response

    journey = Journey()
    triton = ScriptedTriton((response("a"), response("b", "stop")), {"demo": CARD.to_json()})
    settings = Settings(sse_ping_interval_s=0, shutdown_grace_s=0)
    async with connected(triton) as backend:
        server = Server(create_app(settings, backend), settings)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            port = listener.getsockname()[1]
            while not server.started:
                await asyncio.sleep(0.01)
            await _chat(port)
            with _traced(journey):
                await _chat(port)
            server.should_exit = True
            await serving
    return journey


def main() -> None:
    from tests.layout import FOLDERS, layout

    sys.path.insert(0, str(_ROOT))
    journey = asyncio.run(travel())
    for file in journey.files:
        print(f"  {file}")
    num_gateway = sum(file.startswith("gateway/") for file in journey.files)
    entered = f"{len(journey.files)} files, {num_gateway} of the gateway"
    print(f"{entered}, {journey.num_calls} calls, {journey.num_moves} moves")
    print(f"\n{'folder':34}{'rooms':>6}{'floors':>8}{'arrows':>8}")
    for folder in sorted({file.parent for name in FOLDERS for file in (_ROOT / name).rglob("*.py")}):
        lies = layout(folder)
        if len(lies.arrows) > 1:
            floors = lies.num_floors or "circle"
            print(f"{folder.relative_to(_ROOT).as_posix():34}{len(lies.arrows):6}{floors:>8}{lies.num_arrows:8}")


if __name__ == "__main__":
    main()
