"""Where the references of a schema lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from triton_repo.engine.schema.merge import Schema


def resolve(root: Schema, reference: str) -> Schema:
    """What a reference within the schema leads to.

    Raises:
        ValueError: it leads elsewhere, or nowhere.
    """
    if not reference.startswith("#"):
        raise ValueError(f"$ref {reference!r}: only references within the schema are followed")
    found: Any = root
    fragment = unquote(reference[1:])
    if fragment and not fragment.startswith("/"):
        return _anchored(root, fragment)
    for part in fragment.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"$ref {reference!r} leads to nothing") from None
    if not isinstance(found, Mapping | bool):
        raise ValueError(f"$ref {reference!r} leads to no schema")  # noqa: TRY004 - all that is wrong with a schema
    return found


def _anchored(root: Any, name: str) -> Schema:
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            if found.get("$anchor") == name:
                return found
            waiting += [value for keyword, value in found.items() if keyword not in ("enum", "const")]
        elif isinstance(found, list):
            waiting += found
    raise ValueError(f"$ref '#{name}' leads to nothing")
