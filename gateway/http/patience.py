"""How long a client waits, as its headers say.

`x-request-timeout` is the client's word on the whole answer, in seconds: the answer is stopped when they are over.
`x-stainless-timeout` (OpenAI's and Anthropic's clients in JavaScript) and `x-stainless-read-timeout` (in Python) are
how long the client waits for the first byte: a request that had no turn by then is not begun.
"""

from __future__ import annotations

import math
import time
from typing import Final

from starlette.types import Scope

from triton_repo.contract.errors import InvalidRequest

_WHOLE: Final = b"x-request-timeout"
_FIRST_BYTE: Final = frozenset({b"x-stainless-timeout", b"x-stainless-read-timeout"})


def complete_and_begin_by_s(scope: Scope) -> tuple[float, float]:
    """When the client gives up on the whole answer, and on its beginning, on `time.monotonic`; inf if it never does.

    Raises:
        InvalidRequest: `x-request-timeout` is not a number of seconds above 0.
    """
    whole_s = first_byte_s = math.inf
    for name, value in scope["headers"]:
        if name == _WHOLE:
            whole_s = _seconds(value)
            if not whole_s > 0:
                raise InvalidRequest(
                    f"x-request-timeout = {value[:64].decode('ascii', 'replace')!r}: must be seconds, above 0",
                    "x-request-timeout",
                )
        elif name in _FIRST_BYTE and (seconds := _seconds(value)) > 0:
            first_byte_s = seconds
    now_s = time.monotonic()
    return now_s + whole_s, now_s + first_byte_s


def _seconds(value: bytes) -> float:
    """NaN, which is neither above 0 nor below, if it is no number."""
    try:
        return float(value)
    except ValueError:
        return math.nan
