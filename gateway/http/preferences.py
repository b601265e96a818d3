"""`Prefer: handling=strict` (RFC 7240): a request with a field that would have no effect is rejected.

Without it, or with `handling=lenient`, such fields are ignored, and the header `x-ignored-parameters` names them.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from triton_repo.contract.errors import UnsupportedParameter

_HANDLING: Final = ("strict", "lenient")


def check_ignored(scope: Scope, ignored: str) -> None:
    """
    Args:
        ignored: names of the fields without effect, with commas between them.

    Raises:
        UnsupportedParameter: there are some, and the client prefers an error.
    """
    if ignored and _handling(scope) == "strict":
        rule = "no effect here, and the request asks for strict handling (Prefer)"
        raise UnsupportedParameter(f"{ignored}: {rule}", ignored.partition(",")[0])


def response_headers(scope: Scope, ignored: str) -> dict[str, str]:
    """What the headers of an answer say of the preference, and of the fields without effect."""
    headers = {"x-ignored-parameters": ignored} if ignored else {}
    if handling := _handling(scope):
        headers["preference-applied"] = f"handling={handling}"
    return headers


def _handling(scope: Scope) -> str | None:
    """The first one that is known; of a preference that is there twice the first counts (RFC 7240, 2)."""
    for name, value in scope["headers"]:
        if name == b"prefer":
            for preference in bytes(value).decode("latin-1").split(","):
                token, _, word = preference.partition(";")[0].partition("=")
                handling = word.strip().strip('"').lower()
                if token.strip().lower() == "handling" and handling in _HANDLING:
                    return handling
    return None
