"""What can go wrong with the store while it is used."""

from __future__ import annotations

from triton_repo.contract.errors import InvalidRequest, RequestError


class StoreFailed(RequestError):
    """The file cannot be read or written now: no space is left, say. The log has the reason."""

    status = 500
    code = "store_failed"


class StoreFull(RequestError):
    """What a client wants to keep finds no room."""

    status = 507
    code = "insufficient_storage"


class DuplicateItem(InvalidRequest):
    """A conversation has an item with this id already."""

    code = "duplicate_item"

    def __init__(self, id: str, param: str) -> None:
        super().__init__(f"{param}: the conversation has an item {id[:80]!r} already", param)
