"""How deep JSON of a client may be nested: what is read at once may be too deep to be written, or for a template."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

MAX_DEPTH: Final = 64

Value = TypeVar("Value")


def check_depth(value: Any) -> Any:
    """The value. Raises PydanticCustomError. Found without a recursion, which would end at a thousand."""
    depth, level = 0, [value]
    while level := [inner for each in level for inner in _inner(each)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise PydanticCustomError("depth", "must be nested no deeper than {most}", {"most": MAX_DEPTH})
    return value


Shallow = Annotated[Value, AfterValidator(check_depth)]


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []
