"""What a model writes, as calls and reasoning are read from it; and the forms that a client asks of its answers."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Literal

import orjson

from gateway.dialects.openai.chat import ChatCompletions
from gateway.parsers.families import REASONING_PARSERS, TOOL_PARSERS, answer_parser
from tests.fuzz.target import Target, json_target
from tests.fuzz.targets.requests import CHATS
from tests.gateway.parsers.reading import read
from tests.gateway.parsers.writers import WRITERS
from triton_repo.contract.errors import RequestError
from triton_repo.contract.sampling import Guide
from triton_repo.engine.runtimes.openvino.proving import as_grammar

_FUNCTIONS = {"f": {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}, "g": {}}
_CALLS = [("f", {"a": 'x "é🙂" \n{}', "n": 1}), ("g", {})]
_WORDS = (
    b"<think>",
    b"</think>",
    b"|",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b"\\ud83d",
    b"=",
    b"<",
    b">",
    b"```json\n",
)
SCHEMAS = [
    {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^a+$"}, "b": {"$ref": "#/$defs/b"}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"b": {"type": "array", "items": {"enum": [1, "x", None]}, "minItems": 1, "maxItems": 3}},
    },
    {"anyOf": [{"type": "integer", "minimum": -5, "multipleOf": 5}, {"type": "number", "exclusiveMaximum": 1.5}]},
    {"allOf": [{"type": "string", "minLength": 1}, {"maxLength": 4, "format": "date"}], "not": {"const": "x"}},
]
# Every keyword that becomes a part of a grammar.
GUIDES = [
    *SCHEMAS,
    {
        "type": ["object", "null"],
        "properties": {"a": {"type": "integer", "maximum": 9, "exclusiveMinimum": 0}, "b": {"const": "x"}},
        "patternProperties": {"^x": {"$ref": "#/$defs/other/0"}},
        "propertyNames": {"pattern": "^[a-z]+$", "maxLength": 3},
        "additionalProperties": {"$ref": "#tail"},
        "dependentRequired": {"a": ["b"]},
        "minProperties": 1,
        "maxProperties": 3,
        "$defs": {"tail": {"$anchor": "tail", "type": "boolean"}, "other": [{"minLength": 2, "maxLength": 5}]},
    },
    {
        "items": [{"type": "number", "multipleOf": 2, "minimum": 0, "maximum": 8}],
        "additionalItems": {"enum": [1, 2.5, True, None, "é", [1], {"a": 1}], "maxLength": 1},
        "contains": {"type": "integer"},
        "minContains": 1,
        "maxItems": 3,
        "dependencies": {"a": {"required": ["b"]}, "c": ["d"]},
    },
    {"type": "array", "prefixItems": [True, {"oneOf": [{"type": "string"}, False]}], "items": False, "minItems": 2},
    {
        "type": "structural_tag",
        "format": {
            "type": "triggered_tags",
            "triggers": ["<f="],
            "tags": [
                {"begin": "<f=g>", "content": {"type": "json_schema", "json_schema": SCHEMAS[0]}, "end": "</f>"},
                {"begin": "<f=h>", "content": {"type": "regex", "pattern": "a+"}, "end": "</f>"},
            ],
        },
    },
]


def fuzz_calls(data: bytes) -> None:
    """The first byte is the family. Whatever a model writes, it is read the same whole and in parts."""
    if data:
        _fuzz_parser([*TOOL_PARSERS][data[0] % len(TOOL_PARSERS)], None, data[1:])


def fuzz_reasoning(data: bytes) -> None:
    if data:
        _fuzz_parser(None, [*REASONING_PARSERS][data[0] % len(REASONING_PARSERS)], data[1:])


def _fuzz_parser(tools: str | None, reasoning: str | None, data: bytes) -> None:
    answer = data.decode(errors="replace")[:4000]
    found = []
    steps = range(0, len(answer), 1 + data[0] % 7 if data else 1)
    for cuts in (range(0), steps):
        parser = answer_parser(tools, reasoning, _FUNCTIONS if tools else None)
        assert parser is not None
        found.append(read(parser, answer, cuts))
    assert found[0] == found[1]


def fuzz_schema(data: bytes) -> None:
    """The schema of a `response_format`: what the gateway takes becomes a grammar, or the reason why it cannot."""
    try:
        schema = orjson.loads(data)
        fields = {**CHATS[0], "response_format": {"type": "json", "schema": schema}}
        ChatCompletions().parse(fields)
    except (ValueError, RecursionError, RequestError):
        return
    _as_grammar("json_schema", json.dumps(schema))


def fuzz_regex(data: bytes) -> None:
    _as_grammar("regex", data.decode(errors="replace"))


def fuzz_guide(data: bytes) -> None:
    """A guide as a client of Triton's own API sends it: nothing has looked at it before."""
    text = data.decode(errors="replace")
    _as_grammar("json_schema", text)
    _as_grammar("structural_tag", text)


def _as_grammar(kind: Literal["json_schema", "regex", "structural_tag"], text: str) -> None:
    """With the errors that a client is told. The time that it takes is bounded where it serves."""
    with suppress(ValueError, RecursionError):
        as_grammar(Guide(kind, text))


@cache
def targets() -> tuple[Target, ...]:
    calls = [b"%cHello %b" % (at, WRITERS[tools](_CALLS).encode()) for at, tools in enumerate(TOOL_PARSERS)]
    reasonings = [
        f"{chr(at)}{family.start}because{family.end}the answer".encode()
        for at, family in enumerate(REASONING_PARSERS.values())
    ]
    special = {text.encode() for family in TOOL_PARSERS.values() for text in family.keep_special}
    ends = {text.encode() for family in REASONING_PARSERS.values() for text in (family.start, family.end)}
    expressions = [rb"^(a|b)*[^\d]{2,5}\w+?$", rb"\u00e9\x41(?:x|y)?[a-zA-Z_-]+.{0,9}"]
    words = (b"(", b"(?:", b"(?=", b"[^", b"]", b"{1,", b"{99999}", b"*", b"|", b"\\", b"\\p{L}", b"$", b"^")
    return (
        Target("calls", fuzz_calls, calls, (*_WORDS, *sorted(special))),
        Target("reasoning", fuzz_reasoning, reasonings, (*_WORDS, *sorted(ends))),
        json_target("schema", fuzz_schema, SCHEMAS),
        json_target("guide", fuzz_guide, GUIDES),
        Target("regex", fuzz_regex, expressions, words),
    )
