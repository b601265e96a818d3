"""The key of the API: where it is read from, and what it may be. The gateway asks for it, and clients bring it."""

from __future__ import annotations

import re
from typing import Final

from triton_repo.contract.errors import LaunchError

API_KEY_VARIABLE: Final = "CONCH_API_KEY"
_SENDABLE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


def check_api_key(key: str | None) -> str | None:
    """`key`; None for an empty one, which is none.

    Raises:
        LaunchError: nobody could send it in an `Authorization` header. The message does not show it.
    """
    if key and not _SENDABLE.fullmatch(key):
        rule = "printable ASCII with no blank or newline at either end"
        raise LaunchError(f"{API_KEY_VARIABLE} = (not shown): no header can carry this key; allowed: {rule}")
    return key or None
