"""Guides that keep an answer to the calls that are allowed, in the form that the model's family writes them.

They are XGrammar's structural tags, of those formats that all supported engines have:
https://xgrammar.mlc.ai/docs/structural_tag/structural_tag.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.parsers.parser import Schema, Schemas

Format = Mapping[str, Any]
_ANY_TEXT: Final[Format] = {"type": "any_text"}
_LINE_BREAKS: Final[Format] = {"type": "regex", "pattern": r"\n{0,2}"}
_NUMBER: Final[Format] = {"type": "regex", "pattern": "[0-9]{1,3}"}
_NAME: Final = "NAME"  # in a form


@dataclass(frozen=True, slots=True)
class CallForm:
    """How calls are written. `NAME` in `begin` stands for the function's name.

    Attributes:
        begin: what stands before the arguments of each call; `end`: behind them.
        trigger: what starts a call wherever it stands in the text; "" where the same may as well start something else.
        opening: what stands before the first call; `closing`: behind the last one.
        separator: what stands between calls.
        index: what stands between the number of a call, which follows `begin`, and its arguments; "": no number.
    """

    begin: str
    end: str
    trigger: str
    opening: str = ""
    separator: str = ""
    closing: str = ""
    index: str = ""

    def calls(self, schemas: Schemas, *, parallel: bool) -> Format:
        """One call or more, and nothing else."""
        return _once(self._section(schemas, parallel)) if self.opening else self._calls(schemas, parallel)

    def text_with_calls(self, schemas: Schemas, *, parallel: bool) -> Format:
        """Text, in which any call is one of those allowed."""
        return {
            "type": "triggered_tags",
            "triggers": [self.trigger],
            "tags": [self._section(schemas, parallel)] if self.opening else self._each(schemas),
            "at_least_one": False,
            "stop_after_first": not parallel,
        }

    def _section(self, schemas: Schemas, parallel: bool) -> Format:
        return _tag(self.opening, self._calls(schemas, parallel), self.closing)

    def _calls(self, schemas: Schemas, parallel: bool) -> Format:
        return _tags(self._each(schemas), self.separator, stop_after_first=not parallel)

    def _each(self, schemas: Schemas) -> list[Format]:
        return [self._call(name, schema) for name, schema in schemas.items()]

    def _call(self, name: str, schema: Schema) -> Format:
        arguments: Format = {"type": "json_schema", "json_schema": _object(schema)}
        if self.index:
            arguments = _sequence(_NUMBER, {"type": "const_string", "value": self.index}, arguments)
        return _tag(self.begin.replace(_NAME, json.dumps(name, ensure_ascii=False)[1:-1]), arguments, self.end)


@dataclass(frozen=True, slots=True)
class CallRules:
    """What is asked of an answer.

    Attributes:
        required: it consists of calls; else it may hold text too, or be text alone.
        parallel: it may have several calls.
        text: the form of an answer that is no call; None lets text and calls stand side by side.
    """

    required: bool
    parallel: bool = True
    text: Format | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """The markers of the reasoning that may come first. `is_open`: the prompt ends within it."""

    start: str
    end: str
    is_open: bool = False


def tools_guide(form: CallForm, schemas: Schemas, rules: CallRules, thinking: Thinking | None = None) -> str:
    """The structural tag, as JSON, of an answer that calls no other functions than these. Reasoning is left free."""
    format = _answer(form, schemas, rules)
    if thinking is not None:
        format = _after_reasoning(format, thinking)
    return json.dumps({"type": "structural_tag", "format": format}, ensure_ascii=False)


def _answer(form: CallForm, schemas: Schemas, rules: CallRules) -> Format:
    if not rules.required and rules.text is None:
        return form.text_with_calls(schemas, parallel=rules.parallel)
    calls = form.calls(schemas, parallel=rules.parallel)
    return calls if rules.required or rules.text is None else _either(calls, _once(_tag("", rules.text, "")))


def _after_reasoning(answer: Format, thinking: Thinking) -> Format:
    reasoning = _tag("" if thinking.is_open else thinking.start, _ANY_TEXT, thinking.end)
    after_reasoning = _sequence(reasoning, _LINE_BREAKS, answer)
    return after_reasoning if thinking.is_open else _either(after_reasoning, answer)


def _object(schema: Schema) -> Schema:
    """The schema of arguments; one that says nothing about them allows any object, which has to be said."""
    if schema.get("properties") or "$ref" in schema or "anyOf" in schema or "oneOf" in schema or "allOf" in schema:
        return {"type": "object", **schema}
    return {"additionalProperties": True, **schema, "type": "object"}


def _once(tag: Format) -> Format:
    """The tag itself. XGrammar takes alternatives only where all may end in such a format, or none."""
    return _tags([tag], "", stop_after_first=True)


def _tags(tags: list[Format], separator: str, *, stop_after_first: bool) -> Format:
    return {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": separator,
        "at_least_one": True,
        "stop_after_first": stop_after_first,
    }


def _tag(begin: str, content: Format, end: str) -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _sequence(*elements: Format) -> Format:
    return {"type": "sequence", "elements": [*elements]}


def _either(*elements: Format) -> Format:
    return {"type": "or", "elements": [*elements]}
