"""From the JSON object of a body to its checked model, in every dialect."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from triton_repo.contract.sampling import invalid_request

Body = TypeVar("Body", bound=BaseModel)


def parse_body(model: type[Body], fields: dict[str, Any]) -> Body:
    """Raises InvalidRequest with the first field that is missing or not allowed."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None
