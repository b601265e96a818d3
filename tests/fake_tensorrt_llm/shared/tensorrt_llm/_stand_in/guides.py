"""Guides, which both versions take in the same fields."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(slots=True, kw_only=True)
class GuidedDecodingParams:
    json: Any = None
    regex: str | None = None
    grammar: str | None = None
    json_object: bool = False
    structural_tag: str | None = None

    def guides(self) -> list[Any]:
        return [value for entry in fields(self) if (value := getattr(self, entry.name))]
