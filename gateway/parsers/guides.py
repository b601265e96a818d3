"""Guides that keep an answer to the calls that are allowed, in the form that the model's family writes them.

They are XGrammar's structural tags, of those formats that all supported engines have:
https://xgrammar.mlc.ai/docs/structural_tag/structural_tag.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.parsers.parser import Schema, Schemas

Format = Mapping[str, Any]
_ANY_TEXT: Final[Format] = {"type": "any_text"}
_LINE_BREAKS: Final[Format] = {"type": "regex", "pattern": r"\n{0,2}"}
_NAME: Final = "NAME"  # in a form


@dataclass(frozen=True, slots=True)
class CallForm:
    """How calls are written. `NAME` in `begin` stands for the function's name.

    Attributes:
        begin: what stands before the arguments of each call; `end`: behind them.
        trigger: with which a call certainly begins; it starts `opening`, or `begin` where there is none.
        opening: what stands before the first call; `closing`: behind the last one.
        separator: what stands between calls.
        index: what stands between the number of a call, which follows `begin`, and its arguments; "": no number.
        content: how the arguments are written.
    """

    begin: str
    end: str
    trigger: str
    opening: str = ""
    separator: str = ""
    closing: str = ""
    index: str = ""
    content: Literal["json_schema", "qwen_xml_parameter"] = "json_schema"

    def calls(self, schemas: Schemas, *, parallel: bool) -> Format:
        """One call or more, and nothing else."""
        tags = [self._call(name, schema) for name, schema in schemas.items()]
        calls = {
            "type": "tags_with_separator",
            "tags": tags,
            "separator": self.separator,
            "at_least_one": True,
            "stop_after_first": not parallel,
        }
        return _tag(self.opening, calls, self.closing) if self.opening else calls

    def text_with_calls(self, schemas: Schemas, *, parallel: bool, others: Mapping[str, Format]) -> Format:
        """Text, in which any call is one of those allowed. `others` may stand in it too, by their triggers."""
        if self.opening:
            tags = [self.calls(schemas, parallel=parallel)]
        else:
            tags = [self._call(name, schema) for name, schema in schemas.items()]
        return {
            "type": "triggered_tags",
            "triggers": [self.trigger, *others],
            "tags": [*tags, *others.values()],
            "at_least_one": False,
            "stop_after_first": not parallel and not others,
        }

    def _call(self, name: str, schema: Schema) -> Format:
        arguments: Format = {"type": self.content, "json_schema": _object(schema)}
        if self.index:
            number = {"type": "regex", "pattern": r"\d+"}
            text = {"type": "const_string", "value": self.index}
            arguments = {"type": "sequence", "elements": [number, text, arguments]}
        return _tag(self.begin.replace(_NAME, json.dumps(name, ensure_ascii=False)[1:-1]), arguments, self.end)


@dataclass(frozen=True, slots=True)
class CallRules:
    """What is asked of an answer.

    Attributes:
        required: it consists of calls; else it may hold text too, or be text alone.
        parallel: it may have several calls.
    """

    required: bool
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Thinking:
    """The markers of the reasoning that may come first. `is_open`: the prompt ends within it."""

    start: str
    end: str
    is_open: bool = False


def tools_guide(form: CallForm, schemas: Schemas, rules: CallRules, thinking: Thinking | None = None) -> str:
    """The structural tag, as JSON, of an answer that calls no other functions than these. Reasoning is left free."""
    format = _required(form, schemas, rules, thinking) if rules.required else _auto(form, schemas, rules, thinking)
    return json.dumps({"type": "structural_tag", "format": format}, ensure_ascii=False)


def _required(form: CallForm, schemas: Schemas, rules: CallRules, thinking: Thinking | None) -> Format:
    calls = form.calls(schemas, parallel=rules.parallel)
    if thinking is None:
        return calls
    reasoning = _tag("" if thinking.is_open else thinking.start, _ANY_TEXT, thinking.end)
    after_reasoning = _sequence(reasoning, _LINE_BREAKS, calls)
    return after_reasoning if thinking.is_open else {"type": "or", "elements": [after_reasoning, calls]}


def _auto(form: CallForm, schemas: Schemas, rules: CallRules, thinking: Thinking | None) -> Format:
    others = {}
    if thinking is not None and not thinking.is_open:
        others = {thinking.start: _tag(thinking.start, _ANY_TEXT, thinking.end)}
    text = form.text_with_calls(schemas, parallel=rules.parallel, others=others)
    if thinking is None or not thinking.is_open:
        return text
    return _sequence(_tag("", _ANY_TEXT, thinking.end), text)


def _object(schema: Schema) -> Schema:
    """The schema of arguments; one that says nothing about them allows any object, which has to be said."""
    if schema.get("properties") or "$ref" in schema or "anyOf" in schema or "oneOf" in schema or "allOf" in schema:
        return {"type": "object", **schema}
    return {"additionalProperties": True, **schema, "type": "object"}


def _tag(begin: str, content: Format, end: str) -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _sequence(*elements: Format) -> Format:
    return {"type": "sequence", "elements": [*elements]}
