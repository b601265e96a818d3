"""How many ids the engine repeats before the new ones, so that detokenization needs no memory."""

from typing import Final

# A UTF-8 character has at most 4 bytes and so lies in at most 4 tokens: up to 3 of the window may be the start of
# the character at its end, and up to 3 the rest of one that began before it.
WINDOW: Final = 6
