"""From the JSON object of a body to its checked model, in every dialect."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from triton_repo.contract.sampling import invalid_request

Body = TypeVar("Body", bound=BaseModel)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


# Where a body names no model, `gateway.endpoints.finding` does before it is parsed.
ModelName = Annotated[str, Field(default="", max_length=256, json_schema_extra=_without_default)]


def parse_body(model: type[Body], fields: dict[str, Any]) -> Body:
    """Raises InvalidRequest with the first field that is missing or not allowed."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None
