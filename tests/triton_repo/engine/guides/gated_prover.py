"""A prover of guides that a test holds up."""

from __future__ import annotations

import threading

from tests.triton_repo.engine.loop.running_loop import WAIT_S
from triton_repo.contract.sampling import Guide
from triton_repo.engine.guides.proof import GuideProver, Proof


class GatedProver(GuideProver):
    """Reads nothing until a test opens its gate, and finds fault with what begins with "bad"."""

    def __init__(self) -> None:
        super().__init__("xgrammar")
        self.gate = threading.Event()
        self.proved: list[str] = []
        self.fault: Exception | None = None

    def prove(self, guide: Guide) -> Proof:
        self.proved.append(str(guide.text))
        assert self.gate.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        return Proof(guide, f"no {guide.kind}" if str(guide.text).startswith("bad") else None)
