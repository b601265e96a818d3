"""How many random examples a property gets."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "CONCH_TEST_EXAMPLES"


def examples(full: int) -> int:
    """A tenth of `full`, which `make soak` asks for by `CONCH_TEST_EXAMPLES=full`."""
    return full if os.environ.get(VARIABLE) == "full" else full // 10
