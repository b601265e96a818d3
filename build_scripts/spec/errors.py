"""How an error in a spec reads: where, which key, its value, what is allowed."""

from __future__ import annotations

import json
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from triton_repo.contract.errors import SpecError


class Problem(NamedTuple):
    """A rule that is broken, of one key; a value None is one that is missing."""

    key: str
    value: object
    rule: str

    def as_pydantic_error(self) -> PydanticCustomError:
        """For a validator: a rule across keys reads like a rule of one."""
        return PydanticCustomError("rule", "{rule}", self._asdict())

    def message(self, origin: str) -> str:
        """`origin` is the file of the spec; empty for a flag."""
        shown = json.dumps(self.value, ensure_ascii=False, default=str)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        text = f"{self.key} = {shown}; {self.rule}"
        return f"{origin}: {text}" if origin else text


def spec_error(origin: str, key: str, value: object, rule: str) -> SpecError:
    """The spec (or the flags) `origin` cannot have this value."""
    return SpecError(Problem(key, value, rule).message(origin))
