"""Custom tools of a chat: those whose input is free text, in the form of a grammar if they have one.

A model calls them as functions with one argument (`gateway.answers.calls.custom_input`). A regular expression holds
wherever the schema of a strict function does; a Lark grammar is told to the model, and holds nowhere: it is one of
the text, and what the engine writes is that text within JSON, for which no library here takes a Lark grammar.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.answers.calls.custom_input import ARGUMENT, schema
from gateway.answers.schema_check import NoSchema, check_schema


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TextFormat(_Value):
    type: Literal["text"]


class Grammar(_Value):
    definition: Annotated[str, Field(min_length=1)]
    syntax: Literal["lark", "regex"]

    @model_validator(mode="after")
    def _is_matched_in_linear_time(self) -> Grammar:
        """Else no answer could be checked, and none would be right."""
        if self.syntax == "regex":
            try:
                check_schema(schema(self.definition))
            except NoSchema:
                rule = "definition must be a regular expression, without lookaround and backreferences"
                raise PydanticCustomError("regex", "{rule}", {"rule": rule}) from None
        return self


class GrammarFormat(_Value):
    type: Literal["grammar"]
    grammar: Grammar


class CustomDefinition(_Value):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None

    @property
    def grammar(self) -> Grammar | None:
        return self.format.grammar if isinstance(self.format, GrammarFormat) else None

    @property
    def pattern(self) -> str | None:
        grammar = self.grammar
        return grammar.definition if grammar is not None and grammar.syntax == "regex" else None

    def as_function(self) -> dict[str, Any]:
        told = [self.description, f"The whole input is the text of the argument `{ARGUMENT}`."]
        if (grammar := self.grammar) is not None:
            kind = "Lark grammar" if grammar.syntax == "lark" else "regular expression"
            told.append(f"It must match this {kind}:\n{grammar.definition}")
        return {
            "name": self.name,
            "description": "\n".join(filter(None, told)),
            "parameters": schema(self.pattern),
            "strict": self.pattern is not None,
        }
