"""What can go wrong with the store while it is used."""

from __future__ import annotations

from triton_repo.contract.errors import RequestError


class StoreFailed(RequestError):
    """The file cannot be read or written now: no space is left, say. The log has the reason."""

    status = 500
    code = "store_failed"


class StoreFull(RequestError):
    """What a client wants to keep finds no room."""

    status = 507
    code = "insufficient_storage"
