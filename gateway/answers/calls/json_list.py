"""Calls under a guide where `own_form` has none: of answers that must be calls, or have a set form if they are none.

Such an answer is a JSON list of calls, whatever the form of the model's own: so arguments match their schemas on any
engine that follows JSON schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.answers.calls.tools import MOST_CALLS, TOOLS_FIELD, Tool, Tools, check_parameters
from gateway.answers.schema_check import NoSchema, check_schema
from gateway.parsers.parser import Parser, TextPiece
from gateway.parsers.source import Source, SteppedParser, Steps
from gateway.parsers.tools.json_call import JsonCall
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import MAX_GUIDE_LENGTH, Guide

GUIDE: Final = "json_schema"
CHOICE_FIELD: Final = "tool_choice"
NO_ARGUMENTS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}
_FORM: Final = "!form"  # no function has such a name
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})  # keywords that hold no schemas
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def calls_alone(tools: Tools, card: ModelCard, model: str) -> Guide:
    """The guide of an answer that consists of calls; a form of its text has nothing to apply to.

    Raises:
        UnsupportedParameter: the engine follows no JSON schemas.
        InvalidRequest: the schemas are too long, or one is none.
    """
    if GUIDE not in card.guides:
        reason = f"model {model} cannot be made to call a tool, for its engine follows no JSON schemas"
        raise UnsupportedParameter(f"{CHOICE_FIELD}: {reason}; leave it to the model, auto", CHOICE_FIELD)
    return _guide({**_list(tools), "$defs": _definitions(tools)}, tools, CHOICE_FIELD)


def calls_or_form(tools: Tools, form: Guide) -> Guide:
    """The guide of an answer that is either calls or a JSON object of some form.

    Raises:
        InvalidRequest: the form is another one, or the schemas are too long, or one is none.
    """
    schema = orjson.loads(form.text or "{}") if form.kind in (GUIDE, "json") else None
    if not isinstance(schema, dict) or schema.setdefault("type", "object") != "object":
        rule = f"not possible together with an answer of form {form.kind}, but with that of a JSON object"
        raise InvalidRequest(f"{TOOLS_FIELD}: {rule}", TOOLS_FIELD)
    either = {"anyOf": [{"$ref": f"#/$defs/{_FORM}"}, _list(tools)]}
    return _guide({**either, "$defs": {_FORM: _moved(schema, _FORM), **_definitions(tools)}}, tools, TOOLS_FIELD)


def check_length(guide: str, param: str) -> None:
    """
    Raises:
        InvalidRequest: a guide of calls is too long; names the parameter.
    """
    if len(guide) > MAX_GUIDE_LENGTH:
        rule = f"the schemas of the tools that may be called have at most {MAX_GUIDE_LENGTH} characters together"
        raise InvalidRequest(f"{param}: {rule}, not {len(guide)}", param)


def parser() -> Parser:
    """What reads answers under these guides."""
    return SteppedParser(_answer)


def _guide(schema: Mapping[str, Any], tools: Tools, param: str) -> Guide:
    """`schema` is that of the answer, made of those of the tools."""
    text = orjson.dumps(schema).decode()
    check_length(text, param)  # first: to check a schema takes longer the longer it is
    check_parameters(tools.tools, TOOLS_FIELD)
    try:
        check_schema(schema)
    except NoSchema as error:  # its parts are schemas, so one refers to itself in a way that is not followed here
        raise InvalidRequest(f"{param}: the schemas cannot be put together: {error}", param) from None
    return Guide(GUIDE, text)


def _list(tools: Tools) -> dict[str, Any]:
    calls = [_call(tool) for tool in tools.tools]
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_CALLS if tools.parallel else 1,
        "items": calls[0] if len(calls) == 1 else {"anyOf": calls},
    }


def _definitions(tools: Tools) -> dict[str, Any]:
    """The schemas that refer to parts of themselves."""
    return {tool.name: _moved(tool.parameters, tool.name) for tool in tools.tools if _has_references(tool)}


def _call(tool: Tool) -> dict[str, Any]:
    arguments = {"$ref": f"#/$defs/{tool.name}"} if _has_references(tool) else tool.parameters or NO_ARGUMENTS
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _has_references(tool: Tool) -> bool:
    return b'"$ref"' in orjson.dumps(tool.parameters)


def _moved(schema: Any, name: str) -> Any:
    """A schema that is to lie at `$defs/<name>` of another: its references to itself lead there, not to its `$id`."""
    if isinstance(schema, list):
        return [_moved(one, name) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _moved_keyword(key, value, name)
        for key, value in schema.items()
        if key != "$id" or not isinstance(value, str)
    }


def _moved_keyword(key: str, value: Any, name: str) -> Any:
    if key in _VALUES:
        return value
    if key in _BY_NAME and isinstance(value, dict):
        return {each: _moved(schema, name) for each, schema in value.items()}
    return f"#/$defs/{name}{value[1:]}" if _is_own_reference(key, value) else _moved(value, name)


def _is_own_reference(key: str, value: Any) -> bool:
    return key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/"))


def _answer(source: Source) -> Steps[None]:
    """A list of calls, or else text."""
    space = yield from source.space()
    if not (yield from source.skip("[")):
        yield from _text(source, space)
        return
    yield from source.space()
    while (yield from JsonCall().read(source)):
        yield from source.space()
        yield from source.skip(",")
        yield from source.space()


def _text(source: Source, start: str) -> Steps[None]:
    if start:
        yield TextPiece(start)
    while (yield from source.any()):
        yield TextPiece(source.take(len(source.text)))
