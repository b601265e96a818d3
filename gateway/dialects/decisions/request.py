"""The body of POST /v1/decisions: typed questions about one input. Source: the types of openai-python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.dialects.body import ModelName
from gateway.dialects.depth import Shallow
from gateway.dialects.openai.messages import must_be
from gateway.dialects.responses.input import Input

MAX_QUESTIONS: Final = 400
MAX_OPTIONS: Final = 255


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TextPart(_Value):
    type: Literal["input_text"]
    text: str


class JsonPart(_Value):
    type: Literal["input_json"]
    data: Shallow[dict[str, Any] | list[dict[str, Any]]]

    @property
    def text(self) -> str:
        return orjson.dumps(self.data).decode()


_Parts = Annotated[
    list[Annotated[TextPart | JsonPart, Field(discriminator="type")]], Field(max_length=64, fail_fast=True)
]
Instructions = Annotated[
    str | _Parts, must_be('a string or a list of {"type": "input_text"} and {"type": "input_json"} parts; no images')
]
Name = Annotated[str, Field(max_length=256)]


def text_of(instructions: str | Sequence[TextPart | JsonPart]) -> str:
    return instructions if isinstance(instructions, str) else "\n".join(part.text for part in instructions)


class Predicate(_Value):
    """How likely is it that a statement about the input is true?"""

    type: Literal["predicate"]
    instructions: Instructions
    name: Name | None = None

    @property
    def options(self) -> tuple[str, ...]:
        return ("true", "false")


class ChoiceOption(_Value):
    """A string and a boolean with the same text are two values."""

    value: str | bool
    description: str | None = None


def _distinct(choices: list[ChoiceOption]) -> list[ChoiceOption]:
    if len({(type(choice.value), choice.value) for choice in choices}) < len(choices):
        raise PydanticCustomError("choices", "two choices have the same value")
    return choices


class Choice(_Value):
    """Which of these is it?"""

    type: Literal["choice"]
    instructions: Instructions
    choices: Annotated[
        list[ChoiceOption], Field(min_length=2, max_length=MAX_OPTIONS, fail_fast=True), AfterValidator(_distinct)
    ]
    name: Name | None = None

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(_described(str(it.value), it.description) for it in self.choices)


class Level(_Value):
    label: Annotated[str, Field(min_length=1)]
    description: str | None = None


class Score(_Value):
    """Which of these levels is it, from the lowest to the highest?"""

    type: Literal["score"]
    instructions: Instructions
    levels: Annotated[list[Level], Field(min_length=2, max_length=MAX_OPTIONS, fail_fast=True)]
    name: Name | None = None

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(_described(level.label, level.description) for level in self.levels)


def _described(name: str, description: str | None) -> str:
    return f"{name}: {description}" if description else name


Question = Predicate | Choice | Score


def _text_part(part: Any) -> Any:
    is_json = isinstance(part, dict) and part.get("type") == "input_json"
    return {"type": "input_text", "text": JsonPart.model_validate(part).text} if is_json else part


def _json_as_text(input: Any) -> Any:
    """Messages of the user may have JSON, which is text to the model."""
    return [
        {**item, "content": [_text_part(part) for part in item["content"]]}
        if isinstance(item, dict) and item.get("role") == "user" and isinstance(item.get("content"), list)
        else item
        for item in (input if isinstance(input, list) else ())
    ] or input


class DecisionRequest(_Value):
    """POST /v1/decisions. What concerns caches of prompts and who asks changes no answer."""

    model: ModelName
    input: Annotated[Input, BeforeValidator(_json_as_text, json_schema_input_type=Input)]
    questions: Annotated[
        list[Annotated[Question, Field(discriminator="type")]],
        Field(min_length=1, max_length=MAX_QUESTIONS, fail_fast=True),
    ]
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
