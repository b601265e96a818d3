"""A field of a body that is a JSON schema: checked, and bounded in size and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from gateway.answers.schema_check import NoSchema, check_schema
from gateway.dialects.depth import check_depth
from triton_repo.contract.sampling import MAX_GUIDE_LENGTH


def _schema(value: Any) -> Any:
    """A schema as the text of one is taken too: SGLang's and older vLLM's clients send that."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise PydanticCustomError("schema", "not valid JSON: {error}", {"error": str(error)}) from None
    if not isinstance(value, Mapping | bool):
        raise PydanticCustomError("schema", "must be a JSON schema: an object")
    check_depth(value)
    if (length := len(orjson.dumps(value))) > MAX_GUIDE_LENGTH:
        rule = {"most": MAX_GUIDE_LENGTH, "length": length}
        raise PydanticCustomError("schema", "must have at most {most} bytes, not {length}", rule)
    try:
        check_schema(value)
    except NoSchema as error:
        raise PydanticCustomError("schema", "not a JSON schema: {error}", {"error": str(error)}) from None
    return value


Schema = Annotated[dict[str, Any] | bool, BeforeValidator(_schema)]
