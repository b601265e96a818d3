"""How many processes of the gateway may share a port."""

from __future__ import annotations

from typing import Final

MAX_WORKERS: Final = 256
