"""What no vocabulary exceeds: a file that does would cost memory or time out of all proportion to its size."""

from __future__ import annotations

from typing import Final

MAX_TOKENS: Final = 1 << 21  # ids; the largest vocabularies have a tenth as many
MAX_PIECE: Final = 1024  # characters, each of which may be a cut; the longest pieces known are 128 spaces
