"""Calls with their parameters in tags: Qwen3-Coder, GLM 4.5, MiniMax M2, DeepSeek V3.2, Seed-OSS.

The values are text, made JSON by the function's schema (`parameters.py`). Those of strings are streamed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.parsers.json_value import NO_ARGUMENTS
from gateway.parsers.parser import CallArguments, CallEnd, CallStart, Parser, Schema, Schemas
from gateway.parsers.source import Markers, Source, Steps, Wait
from gateway.parsers.tools.answer import answer, close
from gateway.parsers.tools.marked_json import ANY_CALL
from gateway.parsers.tools.parameters import ANY_BUT_STRING, STRING, json_argument, parameter_types

_BARE_NAME: Final = re.compile(r"[^\s<{\[]")
_ATTRIBUTE: Final = re.compile(r"""[=\s]*(?:name=)?["']?([^"']*)["']?(.*)""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tags:
    """How a family tags calls: `section`, `function` NAME ">", (`key` KEY `key_end` `value` VALUE `value_end`)*, ends.

    Attributes:
        function: "": the name stands right behind `section`.
        function_end: "": that is `section_end`.
        breaks_lines: a line break on either side of a value belongs to the tags.
    """

    section: str
    section_end: str
    function: str = "<function"
    function_end: str = "</function>"
    key: str = "<parameter"
    key_end: str = ">"
    value: str = ""
    value_end: str = "</parameter>"
    breaks_lines: bool = True

    @property
    def markers(self) -> tuple[str, ...]:
        """Those that are whole tags, so that a tokenizer may have them as special tokens."""
        tags = (self.section, self.section_end, self.key, self.key_end, self.value, self.value_end, self.function_end)
        return tuple(dict.fromkeys(tag for tag in tags if tag.startswith("<") and tag.endswith(">")))

    def parser(self, schemas: Schemas) -> Parser:
        starts = [self.section, *([self.function] if self.function else [])]
        return answer(Markers(*starts), _Tagged(self, schemas).calls)


class _Tagged:
    """Reads the calls of one answer."""

    def __init__(self, tags: Tags, schemas: Schemas) -> None:
        self._tags = tags
        self._schemas = schemas
        self._function_end = tags.function_end or tags.section_end
        # A tag may also end with its line, where a model forgets the bracket.
        self._attribute_end = Markers(">", "\n") if tags.breaks_lines else Markers(">")
        self._key_end = Markers(tags.key_end, "\n") if tags.breaks_lines else Markers(tags.key_end)
        # A value may also end with the next tag on a line of its own, where a model forgets the end tag.
        self._next_tags = {f"\n{tag}": tag for tag in (tags.key, self._function_end)} if tags.breaks_lines else {}
        self._value_ends = Markers(tags.value_end, *self._next_tags)

    def calls(self, source: Source, marker: str) -> Steps[bool]:
        tags = self._tags
        is_call = is_section = marker == tags.section
        if is_section:
            yield from source.space()
            if (yield from source.comes("{")):  # as most models write calls
                is_call = yield from ANY_CALL.read(source)
                if is_call:
                    yield from close(source, tags.section_end)
                return is_call
            if tags.function and not (yield from source.skip(tags.function)):
                return False
        is_call = False
        while name := (yield from self._name(source)):
            if not (is_section or is_call or name in self._schemas):
                break
            if not (yield from self._function(source, name)):
                break
            is_call = True
            yield from source.space()
            if not (tags.function and (yield from source.skip(tags.function))):
                break
        if is_call:
            yield from close(source, tags.section_end)
        return is_call

    def _name(self, source: Source) -> Wait[str]:
        if not self._tags.function:
            return (yield from source.word(_BARE_NAME))
        name, _ = yield from self._attribute(source, self._attribute_end, ">")
        return name

    def _function(self, source: Source, name: str) -> Steps[bool]:
        """The parameters of a call, and its end; whether it was a call."""
        schema = self._schemas.get(name, {})
        opening, ended_by = "{", ""
        yield from source.space()
        while ended_by == self._tags.key or (yield from source.skip(self._tags.key)):
            key, types = yield from self._parameter(source, schema)
            if not key:
                break
            if opening == "{":
                yield CallStart(name)
            yield CallArguments(f"{opening}{json.dumps(key, ensure_ascii=False)}: ")
            opening = ", "
            ended_by = yield from self._value(source, types)
            source.commit()
            yield from source.space()
        is_started = opening != "{"
        is_over = ended_by == self._function_end or (yield from source.skip(self._function_end))
        if is_started and not is_over and (yield from self._is_cut_off(source)):
            source.commit()
            return True
        if not is_started and not is_over:
            return False
        if not is_started:
            yield CallStart(name)
        if is_over:
            source.commit()
        yield CallArguments("}" if is_started else NO_ARGUMENTS)
        yield CallEnd()
        return True

    def _parameter(self, source: Source, schema: Schema) -> Wait[tuple[str, frozenset[str]]]:
        """The name of a parameter and its types, up to the value; "" where none is named."""
        tags = self._tags
        key, attributes = yield from self._attribute(source, self._key_end, tags.key_end)
        if tags.value:
            yield from source.space()
            yield from source.skip_or_end(tags.value)
        if tags.breaks_lines:
            yield from source.skip("\n")
        if 'string="true"' in attributes:
            return key, STRING
        return key, ANY_BUT_STRING if 'string="false"' in attributes else parameter_types(schema, key)

    def _attribute(self, source: Source, end: Markers, end_tag: str) -> Wait[tuple[str, str]]:
        """A name, and what else stands in its tag; "" where none does."""
        text = yield from source.up_to(end)
        yield from source.skip(end_tag)
        match = _ATTRIBUTE.match(text)
        return (match[1].strip(), match[2]) if match else ("", "")

    def _value(self, source: Source, types: frozenset[str]) -> Steps[str]:
        """The value of a parameter, as JSON; the tag that ended it, "" where it was cut off."""
        is_string = types == STRING
        texts: list[str] = []
        if is_string:
            yield CallArguments('"')
        held = ""
        while True:
            text, marker = yield from source.until(self._value_ends)
            ended_by = self._next_tags.get(marker, marker)
            if marker == self._tags.value_end:
                space = yield from source.space()
                if not (yield from self._goes_on(source)):
                    text, ended_by = text + marker + space, ""
            is_last = bool(ended_by) or source.is_over
            text = held + text
            if is_last and not ended_by:
                text = self._value_ends.without_start(text)
            text, held = self._without_break(text, marker)
            if text and is_string:
                yield CallArguments(_escaped(text))
            texts.append(text)
            if is_last:
                break
        if not is_string:
            yield from _not_empty(json_argument("".join(texts), types) if ended_by else "".join(texts).strip())
        elif ended_by:
            yield CallArguments('"')
        return ended_by

    def _without_break(self, text: str, marker: str) -> tuple[str, str]:
        """A value's text, and the line break behind it that may belong to the end tag."""
        if self._tags.breaks_lines and text.endswith("\n") and marker not in self._next_tags:
            return text[:-1], "\n"
        return text, ""

    def _is_cut_off(self, source: Source) -> Wait[bool]:
        yield from source.skip_or_end(self._tags.key, self._function_end)
        return not (yield from source.any())

    def _goes_on(self, source: Source) -> Wait[bool]:
        """Whether the call goes on here: an end tag of a value with anything else behind it is part of the value."""
        tags = self._tags
        return (yield from source.comes(tags.key, self._function_end, tags.section_end, or_ends=True))


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _not_empty(text: str) -> Iterator[CallArguments]:
    if text:
        yield CallArguments(text)
