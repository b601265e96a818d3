"""A page of a list, as OpenAI's API writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item")


class ListPage(BaseModel, Generic[Item]):
    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, id_of: Callable[[Any], str] = attrgetter("id")) -> Self:
        """The first `limit` of what was found, which is more if there is more."""
        shown = list(found[:limit])
        ends = (id_of(shown[0]), id_of(shown[-1])) if shown else (None, None)
        return cls(data=shown, first_id=ends[0], last_id=ends[1], has_more=len(found) > limit)
