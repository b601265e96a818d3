"""The processes of a running server, by what they do."""

from __future__ import annotations

from typing import Final

from tests.launch.server import Server

PARTS: Final = {"engine": b"tale_engine/1/", "preprocess": b"tale_preprocess/1/", "detokenize": b"tale_detokenize/1/"}
TRITON: Final = b"bin/tritonserver"
GATEWAY: Final = b"-m\0gateway"


def process(server: Server, name: bytes) -> int:
    return next(pid for pid, command in server.descendants().items() if name in command)
