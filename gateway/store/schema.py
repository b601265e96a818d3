"""The tables of the store: all that is kept beyond one request.

Each step takes a file from the version before it to its own, which is its place in the list, from 1. Steps that were
released stay as they are: a change is a step of its own.
"""

from __future__ import annotations

from typing import Final

STEPS: Final[tuple[str, ...]] = ()
