"""Texts in the four forms in which OpenAI takes them: one or several, each written or as token ids."""

from __future__ import annotations

from array import array
from typing import Any

from pydantic_core import PydanticCustomError

TextsOrIds = str | list[int] | list[str] | list[list[int]]  # in the API's description


def texts_or_ids(value: Any, name: str, most: int, most_ids: int) -> list[str] | list[bytes]:
    """The texts, or their ids as 32-bit integers in this machine's byte order.

    By hand: pydantic would take half a second over the ids of a large body.

    Args:
        name: the type of the error.
        most: how many there may be.
        most_ids: how many ids all of them may have together.
    """
    several = value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]
    if len(several) <= most:
        if all(isinstance(text, str) and text for text in several):
            return several
        if all(isinstance(ids, list) and ids for ids in several):
            if sum(map(len, several)) > most_ids:
                raise PydanticCustomError(
                    "too_many_ids", "may have at most {max} token ids together", {"max": most_ids}
                )
            if None not in (packed := [_packed(ids) for ids in several]):
                return [ids for ids in packed if ids is not None]
    raise PydanticCustomError(
        name,
        "must be a string, a list of token ids, or a list of at most {max} strings or lists of token ids, none of them "
        "empty",
        {"max": most},
    )


def _packed(ids: list[Any]) -> bytes | None:
    if {*map(type, ids)} != {int}:  # not bool, which `array` takes
        return None
    try:
        return array("i", ids).tobytes() if min(ids) >= 0 else None
    except OverflowError:
        return None
