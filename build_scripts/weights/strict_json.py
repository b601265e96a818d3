"""Untrusted JSON objects: a key that occurs twice is rejected, because two readers may take different values.

The configuration files of a checkpoint may repeat a key: all that read them are in Python and take the last value. A
lone surrogate (half a character), which JSON can spell and UTF-8 cannot, is rejected everywhere.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

from triton_repo.contract.errors import BuildError

_MAY_BE_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # escaped, or as it stands


def parse_object(text: bytes, where: str, *, repeated_keys: bool = False) -> dict[str, Any]:
    """The object that `text` is, with or without a byte order mark; `where` begins every error.

    Args:
        repeated_keys: a key may occur twice; its last value counts.

    Raises:
        BuildError: no JSON, no object, a key twice, or half a character.
    """
    try:
        value = json.loads(text, object_pairs_hook=dict if repeated_keys else _unique)
    except RecursionError as error:
        raise BuildError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise BuildError(f"{where}: not valid JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise BuildError(f"{where}: must be a JSON object")
    if _MAY_BE_HALF.search(text):
        _check_characters(value, where)
    return value


def has_mark(file: Path) -> bool:
    """Whether a file begins with a byte order mark, which `parse_object` takes and other readers do not."""
    with file.open("rb") as opened:
        return opened.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _check_characters(value: dict[str, Any], where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BuildError(f"{where}: has a lone surrogate (half a character), {error.object[error.start]!a}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{twice!r} occurs twice")
    return result
