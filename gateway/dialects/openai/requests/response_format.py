"""What a request says of the form of its answer, in the words of OpenAI, vLLM, SGLang, TensorRT-LLM or llama.cpp.

All of them come down to one guide, see `triton_repo.contract.sampling`. Sources of the forms: OpenAI's API reference
(`response_format`), vLLM's "Structured outputs" (`structured_outputs`, and `guided_*` of its versions before 0.12),
SGLang's "Structured outputs" (`regex`, `ebnf`, `json_schema`), trtllm-serve's `ResponseFormat`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.dialects.openai.requests.forms import Form, choice_form, grammar_form, one_of, regex_form, schema_form
from gateway.dialects.openai.requests.schema_field import Schema
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import GUIDE_FIELDS, MAX_GUIDE_LENGTH, Guide, Sampling

MAX_CHOICES: Final = 1024
_FORMAT: Final = "response_format"
_OUTPUTS: Final = "structured_outputs"

Text = Annotated[str, Field(min_length=1, max_length=MAX_GUIDE_LENGTH)]
Choices = Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES)]


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", populate_by_name=True)


class JsonSchema(_Value):
    """`response_format.json_schema`; without a schema any JSON object will do."""

    name: Annotated[str, Field(max_length=256)] | None = None
    description: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    strict: bool | None = None


class StructuralTag(_Value):
    """XGrammar's structural tag, in its present form, or in that before 0.1.23: structures that begin with triggers."""

    format: dict[str, Any] | None = None
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None

    def to_json(self) -> str:
        tags = [
            {
                "begin": structure.get("begin"),
                "content": {"type": "json_schema", "json_schema": structure.get("schema")},
                "end": structure.get("end"),
            }
            for structure in self.structures or ()
        ]
        triggered = {"type": "triggered_tags", "triggers": self.triggers or [], "tags": tags}
        format = triggered if self.format is None else self.format
        return orjson.dumps({"type": "structural_tag", "format": format}).decode()


# Where the `value` of a type belongs, as TGI calls it: HuggingFace's client sends every schema so.
_VALUES: Final = {"json": "schema", "json_object": "schema", "json_schema": "json_schema", "regex": "regex"}


class ResponseFormat(StructuralTag):
    """`response_format`. `json` with its `schema` is trtllm-serve's, a `json_object` with one llama.cpp's, and a
    `value` TGI's."""

    type: Literal["text", "json_object", "json_schema", "json", "regex", "ebnf", "grammar", "structural_tag"]
    json_schema: JsonSchema | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    regex: Text | None = None
    pattern: Text | None = None
    ebnf: Text | None = None
    grammar: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_value(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or not isinstance(kind := fields.get("type"), str):
            return fields
        name = _VALUES.get(kind)
        return {**fields, name: fields.get("value")} if name and fields.get(name) is None else fields

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        self.form()
        return self

    def form(self) -> Form | None:
        """None for plain text."""
        match self.type:
            case "text":
                form = None
            case "json_object":
                nested = self.json_schema.schema_ if self.json_schema else None
                asked = nested if self.schema_ is None else self.schema_
                form = schema_form(None if asked is True or asked == {} else asked)
            case "json_schema":
                given: JsonSchema = self._given(self.json_schema, "json_schema")
                form = schema_form(given.schema_, strict=given.strict, param=_FORMAT)
            case "json":
                form = schema_form(self._given(self.schema_, "schema"))
            case "regex":
                form = regex_form(self._given(self.regex or self.pattern, "regex"))
            case "ebnf" | "grammar":
                form = grammar_form(self._given(self.ebnf or self.grammar, self.type))
            case "structural_tag":
                self._given(self.format or self.structures, "format")
                form = _structural_tag(self)
        return form

    def _given(self, value: Any, name: str) -> Any:
        if value is None:
            raise InvalidRequest(f"{_FORMAT}: type {self.type} needs a {name}", _FORMAT)
        return value


class StructuredOutputs(_Value):
    """vLLM's `structured_outputs`: one of these, and how the backend is to go about it."""

    json_: Annotated[Schema | None, Field(alias="json")] = None
    regex: Text | None = None
    choice: Choices | None = None
    grammar: Text | None = None
    json_object: bool | None = None
    structural_tag: StructuralTag | Text | None = None
    disable_fallback: bool | None = None  # there is nothing to fall back to here
    disable_any_whitespace: Literal[False] | None = None
    disable_additional_properties: Literal[False] | None = None
    whitespace_pattern: str | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if self.whitespace_pattern is not None:
            name = f"{_OUTPUTS}.whitespace_pattern"
            raise UnsupportedParameter(f"{name}: this server does not support this parameter", _OUTPUTS)
        self.form()
        return self

    def form(self) -> Form | None:
        return one_of(
            {
                "json": (self.json_, schema_form),
                "regex": (self.regex, regex_form),
                "choice": (self.choice, choice_form),
                "grammar": (self.grammar, grammar_form),
                "json_object": (self.json_object or None, _any_object),
                "structural_tag": (self.structural_tag, _structural_tag),
            },
            within=_OUTPUTS,
        )


class FormedRequest(Sampling):
    """The part of a body that says of what form the answer is to be; one field at most may say so."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: Text | None = None
    guided_choice: Choices | None = None
    guided_grammar: Text | None = None
    json_schema: Annotated[Schema | None, BeforeValidator(lambda value: value or None)] = None
    regex: Text | None = None
    ebnf: Text | None = None

    @property
    def form(self) -> Form | None:
        return one_of(self._forms())

    @property
    def form_sent_as(self) -> dict[str, str]:
        """The names of the guide -> the name of the field that asks for it."""
        given = [name for name, (value, _) in self._forms().items() if value is not None]
        return dict.fromkeys(GUIDE_FIELDS, given[0]) if given and given[0] not in GUIDE_FIELDS else {}

    def _forms(self) -> dict[str, tuple[Any, Callable[[Any], Form | None]]]:
        return {
            _FORMAT: (_asking(self.response_format), lambda value: value.form()),
            _OUTPUTS: (_asking(self.structured_outputs), lambda value: value.form()),
            "guided_json": (self.guided_json, schema_form),
            "guided_regex": (self.guided_regex, regex_form),
            "guided_choice": (self.guided_choice, choice_form),
            "guided_grammar": (self.guided_grammar, grammar_form),
            "json_schema": (self.json_schema, schema_form),
            "regex": (self.regex, regex_form),
            "ebnf": (self.ebnf, grammar_form),
            GUIDE_FIELDS[0]: (self.guide, Form),
        }


def _asking(value: ResponseFormat | StructuredOutputs | None) -> ResponseFormat | StructuredOutputs | None:
    return None if value is None or value.form() is None else value


def _any_object(_: bool) -> Form:
    return schema_form(None)


def _structural_tag(tag: StructuralTag | str) -> Form:
    return Form(Guide("structural_tag", tag if isinstance(tag, str) else tag.to_json()))
