"""The names that clients give models: NAME, NAME@VERSION, and either with :ADAPTER behind it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"(?P<base>[^@:]+)(@(?P<version>[1-9][0-9]{0,8}))?(:(?P<adapter>[^@:]+))?")


class ModelName(NamedTuple):
    """`version` None is for the policy of the name to choose; `adapter` None is the model without one."""

    base: str
    version: int | None = None
    adapter: str | None = None


def read_name(text: str) -> ModelName:
    """A text of another form is a name as it stands."""
    match = _NAME.fullmatch(text)
    if match is None:
        return ModelName(text)
    version = match["version"]
    return ModelName(match["base"], int(version) if version else None, match["adapter"])
