"""The form of an answer, in every client's words: it reaches the engine as one guide, or is rejected by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.gateway.bodies import CHAT, COMPLETIONS, chat, completion, post, refusal
from tests.gateway.scripted_backend import ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.sampling import Guide

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
NOT_ENFORCED = {"properties": {"a": {"uniqueItems": True}}, "not": {"required": ["b"]}}
AS_SCHEMA = Guide("json_schema", json.dumps(SCHEMA, separators=(",", ":")))
TAG = {"type": "tag", "begin": "<a>", "content": {"type": "any_text"}, "end": "</a>"}
STRUCTURES = {"structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}], "triggers": ["<f"]}
AS_TRIGGERED = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags",
        "triggers": ["<f"],
        "tags": [{"begin": "<f>", "content": {"type": "json_schema", "json_schema": SCHEMA}, "end": "</f>"}],
    },
}
BACKEND = ScriptedBackend((delta('{"a":'), delta(" 1}", "stop", 2)))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(BACKEND) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def guide_of(client: httpx.Client, path: str, **fields: Any) -> Guide | None:
    body = chat(**fields) if path == CHAT else completion(**fields)
    response = post(client, path, body)
    assert response.status_code == 200, response.text
    assert "x-ignored-parameters" not in response.headers
    return BACKEND.generations[-1].sampling.guide


@pytest.mark.parametrize(
    ("fields", "guide"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": None, "structured_outputs": {}, "json_schema": {}}, None),
        ({"response_format": {"type": "json_object"}}, Guide("json", None)),
        ({"response_format": {"type": "json_object", "schema": {}}}, Guide("json", None)),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, AS_SCHEMA),
        ({"response_format": {"type": "json_object", "json_schema": {"name": "a", "schema": SCHEMA}}}, AS_SCHEMA),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
                }
            },
            AS_SCHEMA,
        ),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, Guide("json", None)),
        ({"response_format": {"type": "json", "schema": SCHEMA}}, AS_SCHEMA),
        ({"response_format": {"type": "json", "value": SCHEMA}}, AS_SCHEMA),
        ({"response_format": {"type": "json_object", "value": SCHEMA, "schema": None}}, AS_SCHEMA),
        ({"response_format": {"type": "json_schema", "value": {"name": "a", "schema": SCHEMA}}}, AS_SCHEMA),
        ({"response_format": {"type": "regex", "value": "a+"}}, Guide("regex", "a+")),
        ({"response_format": {"type": "regex", "regex": "a+"}}, Guide("regex", "a+")),
        ({"response_format": {"type": "ebnf", "ebnf": 'root ::= "a"'}}, Guide("ebnf_grammar", 'root ::= "a"')),
        ({"response_format": {"type": "grammar", "grammar": 'root ::= "a"'}}, Guide("ebnf_grammar", 'root ::= "a"')),
        ({"structured_outputs": {"json": SCHEMA}}, AS_SCHEMA),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, AS_SCHEMA),
        ({"structured_outputs": {"json_object": True, "disable_fallback": True}}, Guide("json", None)),
        ({"structured_outputs": {"regex": "a+"}}, Guide("regex", "a+")),
        ({"structured_outputs": {"choice": ["a.b", "c\nd", "[e]"]}}, Guide("regex", r"(a\.b|c\nd|\[e\])")),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, Guide("ebnf_grammar", 'root ::= "a"')),
        ({"guided_json": SCHEMA}, AS_SCHEMA),
        ({"guided_regex": "a+"}, Guide("regex", "a+")),
        ({"guided_choice": ["a", "b"]}, Guide("regex", "(a|b)")),
        ({"guided_grammar": 'root ::= "a"'}, Guide("ebnf_grammar", 'root ::= "a"')),
        ({"json_schema": json.dumps(SCHEMA)}, AS_SCHEMA),
        ({"regex": "a+"}, Guide("regex", "a+")),
        ({"ebnf": 'root ::= "a"'}, Guide("ebnf_grammar", 'root ::= "a"')),
        ({"guided_decoding_guide_type": "regex", "guided_decoding_guide": "a+"}, Guide("regex", "a+")),
    ],
)
def test_every_clients_words_for_a_form_are_one_guide(
    client: httpx.Client, fields: dict[str, Any], guide: Guide | None
) -> None:
    assert [guide_of(client, path, **fields) for path in (CHAT, COMPLETIONS)] == [guide, guide]


@pytest.mark.parametrize(
    ("fields", "tag"),
    [
        ({"response_format": {"type": "structural_tag", "format": TAG}}, {"type": "structural_tag", "format": TAG}),
        ({"response_format": {"type": "structural_tag", **STRUCTURES}}, AS_TRIGGERED),
        (
            {"structured_outputs": {"structural_tag": json.dumps({"type": "structural_tag", "format": TAG})}},
            {"type": "structural_tag", "format": TAG},
        ),
        ({"structured_outputs": {"structural_tag": STRUCTURES}}, AS_TRIGGERED),
    ],
)
def test_structural_tags_of_before_become_those_of_today(
    client: httpx.Client, fields: dict[str, Any], tag: dict[str, Any]
) -> None:
    guide = guide_of(client, CHAT, **fields)
    assert guide is not None
    assert (guide.kind, json.loads(guide.text or "")) == ("structural_tag", tag)


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"response_format": {"type": "xml"}}, "response_format", "response_format.type"),
        ({"response_format": "json"}, "response_format", "response_format"),
        ({"response_format": {}}, "response_format", "response_format.type: a value is required"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "type json_schema needs a json_schema"),
        ({"response_format": {"type": "regex"}}, "response_format", "type regex needs a regex"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "{"}}},
            "response_format",
            "response_format.json_schema.schema",
        ),
        ({"guided_json": {"type": "text"}}, "guided_json", "not a JSON schema"),
        ({"guided_json": {"pattern": "(?=a)b"}}, "guided_json", "not a JSON schema"),
        ({"guided_json": {"$ref": "http://127.0.0.1:1/a"}}, "guided_json", "not a JSON schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"strict": True, "schema": NOT_ENFORCED}}},
            "response_format",
            "response_format: strict: not, properties.a.uniqueItems: cannot be enforced",
        ),
        ({"guided_json": [1]}, "guided_json", "must be a JSON schema: an object"),
        ({"guided_json": {"a": "x" * 70_000}}, "guided_json", "must have at most 65536 bytes, not"),
        (
            {"structured_outputs": {"whitespace_pattern": " ?", "regex": "a"}},
            "structured_outputs",
            "whitespace_pattern",
        ),
        (
            {"structured_outputs": {"regex": "a", "grammar": "b"}},
            "structured_outputs",
            "structured_outputs.grammar: structured_outputs.regex says already",
        ),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "guided_regex",
            "guided_regex: response_format says already what form the answer has; send one of them",
        ),
        (
            {"regex": "a", "guided_decoding_guide_type": "json"},
            "guided_decoding_guide_type",
            "guided_decoding_guide_type: regex says already",
        ),
        ({"guided_choice": []}, "guided_choice", "guided_choice"),
        ({"grammar": "root ::= a"}, "grammar", "this server does not support"),
    ],
)
def test_what_says_no_form_or_two_is_rejected_by_name(
    client: httpx.Client, fields: dict[str, Any], param: str, message: str
) -> None:
    for path, body in ((CHAT, chat), (COMPLETIONS, completion)):
        error = refusal(post(client, path, body(**fields)))
        assert error["param"] == param
        assert message in error["message"]


def test_what_is_not_strict_may_have_what_only_a_check_enforces(client: httpx.Client) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "a", "schema": NOT_ENFORCED}}
    assert guide_of(client, CHAT, response_format=format) is not None


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_an_answer_that_does_not_match_its_schema_is_an_error(client: httpx.Client, path: str) -> None:
    wanted = {"guided_json": {"type": "object", "properties": {"a": {"type": "string"}}}}
    body = chat(**wanted) if path == CHAT else completion(**wanted)
    answer = post(client, path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "answer_does_not_match")
    assert error["message"] == 'the answer does not match its schema: a: the value is not of type "string"'
    streamed = post(client, path, orjson.dumps({**orjson.loads(body), "stream": True})).text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert events[-1]["error"]["code"] == "answer_does_not_match"
    assert "[DONE]" not in streamed
    assert all(choice["finish_reason"] is None for event in events[:-1] for choice in event["choices"])


def test_an_answer_that_is_cut_short_is_not_checked(client: httpx.Client) -> None:
    wanted = {"guided_json": {"type": "object"}, "stop": [" 1"]}
    assert post(client, CHAT, chat(**wanted)).json()["choices"][0]["finish_reason"] == "stop"


def test_a_schema_nested_too_deep_is_rejected(client: httpx.Client) -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"items": schema}
    error = refusal(post(client, CHAT, chat(guided_json=schema)))
    assert (error["param"], "nested no deeper than 64" in error["message"]) == ("guided_json", True)
