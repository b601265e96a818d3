"""Keys: the environment variables that hold them, how Triton is sent its own, and which API keys are valid."""

from __future__ import annotations

import re
from typing import Final

from triton_repo.contract.errors import LaunchError

API_KEY_VARIABLE: Final = "CONCH_API_KEY"
ADMIN_KEY_VARIABLE: Final = "CONCH_ADMIN_KEY"  # opens /admin, and nothing else

KSERVE_KEY_VARIABLE: Final = "CONCH_KSERVE_KEY"  # of Triton's own API
KSERVE_KEY_HEADER: Final = "conch-key"  # of HTTP
KSERVE_KEY_METADATA: Final = f"triton-grpc-protocol-{KSERVE_KEY_HEADER}"  # of gRPC; the prefix is Triton's

# Those of the gateway and of who starts it: no other process is given them.
KEY_VARIABLES: Final = frozenset({API_KEY_VARIABLE, ADMIN_KEY_VARIABLE, KSERVE_KEY_VARIABLE})

_SENDABLE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


def check_api_key(key: str | None) -> str | None:
    """`check_key` of the API key."""
    return check_key(key, API_KEY_VARIABLE)


def check_key(key: str | None, variable: str) -> str | None:
    """The key, or None if it is empty.

    Raises:
        LaunchError: no client could send it in an `Authorization` header. The message does not show it.
    """
    if key and not _SENDABLE.fullmatch(key):
        rule = "printable ASCII without a space at either end"
        raise LaunchError(f"{variable} = (not shown): no header can carry this key; allowed: {rule}")
    return key or None
