"""JSON objects from outside: a key that occurs twice is refused, for two readers may take different ones of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from triton_repo.errors import BuildError


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """The object that `text` is; `where` begins every complaint.

    Raises:
        BuildError: no JSON, no object, or a key twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise BuildError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise BuildError(f"{where}: not valid JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise BuildError(f"{where}: must be a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{twice!r} occurs twice")
    return result
