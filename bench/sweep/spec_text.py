"""An engine spec as TOML text, the inverse of `build_scripts.spec.engine_spec.read_spec`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from build_scripts.spec.engine_spec import EngineSpec

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def spec_text(spec: EngineSpec, comment: str = "") -> str:
    """What the spec says, without what it leaves to the defaults; `comment` goes on top."""
    values = spec.model_dump(exclude_unset=True, exclude_none=True)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{key} = {_toml(value)}" for key, value in values.items() if key not in tables]
    for name, table in tables.items():
        if not table:
            continue
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    # TOML's basic strings, integers and booleans are JSON's, but for the one control character that JSON lets through.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
