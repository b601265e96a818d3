"""How a field that takes several types complains: in one sentence, not once per type."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


def must_be(rule: str) -> WrapValidator:
    """Replace pydantic's complaint per member of a union by `rule`, which says what is allowed."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("must_be", "must be {rule}", {"rule": rule}) from None

    return WrapValidator(validate)
