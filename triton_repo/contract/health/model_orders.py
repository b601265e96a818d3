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
    """
    Attributes:
        grace_s: how long requests may take to end before their engine, or adapter, is unloaded.
        adapter: of the engine, that alone is loaded or unloaded; "" is the engine itself.
        path: the directory of an adapter that is loaded.
    """

    verb: Verb
    engine: str
    grace_s: float = 0.0
    adapter: str = ""
    path: str = ""

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, line: bytes) -> Order:
        """Raises: ValueError: it is none."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.get("verb") not in VERBS:
            raise ValueError("not an order")
        names = (str(fields.get(name, "")) for name in ("adapter", "path"))
        return cls(fields["verb"], str(fields.get("engine")), float(fields.get("grace_s", 0.0)), *names)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`known`: there is such an engine, or adapter; `failure`: why the order was not carried out, None where it was;
    not `fits`: for want of memory, CPUs or GPUs; not `allowed`: it asks for what must not be."""

    known: bool = True
    failure: str | None = None
    fits: bool = True
    allowed: bool = True

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, line: bytes) -> Outcome:
        """Raises: ValueError: it is none."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.get("known") not in (True, False):
            raise ValueError("not an outcome")
        return cls(
            fields["known"], fields.get("failure"), *(fields.get(name) is not False for name in ("fits", "allowed"))
        )
