"""A parser of guides that a test holds up."""

from __future__ import annotations

import threading

from tests.triton_repo.engine.loop.running_loop import WAIT_S
from triton_repo.engine.guides.parser import GuideParser


class GatedParser(GuideParser):
    """Reads nothing until a test opens its gate, and finds fault with what begins with "bad"."""

    def __init__(self) -> None:
        super().__init__("xgrammar")
        self.gate = threading.Event()
        self.parsed: list[str] = []
        self.fault: Exception | None = None

    def error_of(self, kind: str, guide: str) -> str | None:
        self.parsed.append(guide)
        assert self.gate.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        return f"no {kind}" if guide.startswith("bad") else None
