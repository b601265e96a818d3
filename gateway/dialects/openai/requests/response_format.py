"""What a request says of the form of its answer, in the words of OpenAI, vLLM, SGLang, TensorRT-LLM or llama.cpp.

All of them come down to one guide, see `triton_repo.contract.sampling`. Sources of the forms: OpenAI's API reference
(`response_format`), vLLM's "Structured outputs" (`structured_outputs`, and `guided_*` of its versions before 0.12),
SGLang's "Structured outputs" (`regex`, `ebnf`, `json_schema`), trtllm-serve's `ResponseFormat`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Annotated, Any, Final, Literal, NamedTuple

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.dialects.openai.requests.schema_field import Schema
from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter
from triton_repo.contract.sampling import GUIDE_FIELDS, MAX_GUIDE_LENGTH, Guide, Sampling
from triton_repo.engine.schema.keywords import not_enforced

MAX_CHOICES: Final = 1024
_MAX_NAMES: Final = 8
_FORMAT: Final = "response_format"
_OUTPUTS: Final = "structured_outputs"
_REGEX_SPECIAL: Final = frozenset("\\.^$*+?()[]{}|")

Text = Annotated[str, Field(min_length=1, max_length=MAX_GUIDE_LENGTH)]
Choices = Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES)]


class Form(NamedTuple):
    """The form of an answer: the guide that the engine follows. A schema in it is checked once more in the end."""

    guide: Guide


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


class ResponseFormat(StructuralTag):
    """`response_format`. `json` with its `schema` is trtllm-serve's, a `json_object` with one llama.cpp's."""

    type: Literal["text", "json_object", "json_schema", "json", "regex", "ebnf", "grammar", "structural_tag"]
    json_schema: JsonSchema | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    regex: Text | None = None
    pattern: Text | None = None
    ebnf: Text | None = None
    grammar: Text | None = None

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
                form = _regex(self._given(self.regex or self.pattern, "regex"))
            case "ebnf" | "grammar":
                form = _grammar(self._given(self.ebnf or self.grammar, self.type))
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
                "regex": (self.regex, _regex),
                "choice": (self.choice, choice_form),
                "grammar": (self.grammar, _grammar),
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
            "guided_regex": (self.guided_regex, _regex),
            "guided_choice": (self.guided_choice, choice_form),
            "guided_grammar": (self.guided_grammar, _grammar),
            "json_schema": (self.json_schema, schema_form),
            "regex": (self.regex, _regex),
            "ebnf": (self.ebnf, _grammar),
            GUIDE_FIELDS[0]: (self.guide, Form),
        }


def one_of(given: Mapping[str, tuple[Any, Callable[[Any], Form | None]]], within: str = "") -> Form | None:
    """The form that the one field that is not None asks for.

    Raises:
        InvalidRequest: there are two.
    """
    names = [name for name, (value, _) in given.items() if value is not None]
    if len(names) > 1:
        first, second = (f"{within}.{name}" if within else name for name in names[:2])
        rule = f"{second}: {first} says already what form the answer has; send one of them"
        raise InvalidRequest(rule, within or second)
    if not names:
        return None
    value, form_of = given[names[0]]
    return form_of(value)


def schema_form(schema: Mapping[str, Any] | bool | None, *, strict: bool | None = None, param: str = "") -> Form:
    """Of a JSON schema; None is that of any object.

    Raises:
        InvalidRequest: it is to be strict, and has a keyword that no grammar enforces.
    """
    if strict and (names := [*islice(not_enforced(schema), _MAX_NAMES)]):
        rule = "cannot be enforced while the answer is generated; leave strict out to have the answer checked"
        raise InvalidRequest(f"{param}: strict: {', '.join(names)}: {rule}", param)
    if schema is None or schema == {"type": "object"}:
        return Form(Guide("json", None))
    return Form(Guide("json_schema", orjson.dumps(schema).decode()))


def choice_form(choices: list[str]) -> Form:
    """One of several texts, as a regular expression: the one form of it that every library takes."""
    return _regex("(" + "|".join("".join(map(_literal, choice)) for choice in choices) + ")")


def _asking(value: ResponseFormat | StructuredOutputs | None) -> ResponseFormat | StructuredOutputs | None:
    return None if value is None or value.form() is None else value


def _regex(text: str) -> Form:
    return Form(Guide("regex", text))


def _grammar(text: str) -> Form:
    return Form(Guide("ebnf_grammar", text))


def _any_object(_: bool) -> Form:
    return schema_form(None)


def _structural_tag(tag: StructuralTag | str) -> Form:
    return Form(Guide("structural_tag", tag if isinstance(tag, str) else tag.to_json()))


def _literal(character: str) -> str:
    if character in _REGEX_SPECIAL:
        return f"\\{character}"
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character, character)
