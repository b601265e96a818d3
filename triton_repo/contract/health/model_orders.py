"""What a gateway may ask `launch` to do with an engine: one JSON object each way, on a socket of the run directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

MAX_BYTES: Final = 64 * 1024  # of an order, or of its answer
MAX_GRACE_S: Final = 86400.0

Verb = Literal["load", "unload"]
VERBS: Final = ("load", "unload")


@dataclass(frozen=True, slots=True)
class Order:
    """`grace_s`: how long the requests of an engine may take to end before it is unloaded."""

    verb: Verb
    engine: str
    grace_s: float = 0.0

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, line: bytes) -> Order:
        """Raises: ValueError: it is none."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.get("verb") not in VERBS:
            raise ValueError("not an order")
        return cls(fields["verb"], str(fields.get("engine")), float(fields.get("grace_s", 0.0)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """`known`: there is such an engine; `failure`: why the order was not carried out, None where it was;
    not `fits`: for want of memory, CPUs or GPUs."""

    known: bool = True
    failure: str | None = None
    fits: bool = True

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, line: bytes) -> Outcome:
        """Raises: ValueError: it is none."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.get("known") not in (True, False):
            raise ValueError("not an outcome")
        return cls(fields["known"], fields.get("failure"), fields.get("fits") is not False)
