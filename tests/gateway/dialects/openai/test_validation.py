"""What a body may hold: each wrong value is refused with OpenAI's envelope and the right parameter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.bodies import CHAT, COMPLETIONS, HELLO, chat, completion, post, refusal
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import serving

FUNCTION = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL = {"id": "call_1", **FUNCTION}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(ScriptedBackend()) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


WRONG_VALUES: list[tuple[str, list[Any]]] = [
    ("model", [5, "x" * 257]),
    ("max_tokens", [0, -2, 2**31, 2**63, 10**400, 1.5, "5", True, [], {}]),
    ("temperature", [-0.1, 2.1, "0", True, [], 10**400]),
    ("top_p", [-0.1, -1, 1.01, "1", True]),
    ("top_k", [-2, 1.5, "1", True, 2**31]),
    ("min_p", [-0.1, 1.1, "0"]),
    ("seed", [2**64, -(2**63) - 1, 1.5, "1", True]),
    ("frequency_penalty", [-2.1, 2.1, "0"]),
    ("presence_penalty", [-2.1, 2.1, None.__class__.__name__]),
    ("repetition_penalty", [0, -1, 2.1]),
    ("min_tokens", [-1, 2**31, "1"]),
    ("ignore_eos", [0, 1, "true"]),
    ("stop_token_ids", [5, "5", ["5"], [-1], [True], list(range(65))]),
    ("n", [0, -1, 129, 10**9, 1.5, "1", True]),
    ("stop", [["a"] * 65, "x" * 1025, ["x" * 1025], 5, [5], {}, [None]]),
    ("stream", [0, 1, "true", []]),
    ("stream_options", [True, [], {"include_usage": 1}]),
]
WRONG_CHAT_VALUES: list[tuple[str, list[Any]]] = [
    ("max_completion_tokens", [0, -2, 1.5, "5", True]),
    (
        "messages",
        [
            None,
            [],
            {},
            "Hello",
            [None],
            ["Hello"],
            [{}],
            [{"role": "user"}],
            [{"role": "user", "content": None}],
            [{"role": "user", "content": 5}],
            [{"role": "robot", "content": "x"}],
            [{"content": "x"}],
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}],
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
            [{"role": "user", "content": [{"type": "text", "text": 5}]}],
            [{"role": "user", "content": "x", "name": 5}],
            [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
            [{"role": "assistant", "content": None, "tool_calls": [{**CALL, "type": "magic"}]}],
            [{"role": "assistant", "content": "x", "function_call": {"arguments": "{}"}}],
            [{"role": "tool"}],
            [{"role": "user", "content": [{"type": "text", "text": "x"}] * 4097}],
            [HELLO] * 4097,
        ],
    ),
    ("chat_template_kwargs", [[], "x", {"x": "y" * 20_000}]),
]
WRONG_COMPLETION_VALUES: list[tuple[str, list[Any]]] = [
    (
        "prompt",
        [None, "", [], [""], [[]], 5, [5.5], [True], ["a", 5], [5, "a"], [-1], [2**31], [["a"]], [["a"], [5]], {}],
    ),
    ("prompt", [["a"] * 129, [[1]] * 129]),
]


def rows(table: list[tuple[str, list[Any]]]) -> list[Any]:
    return [pytest.param(name, value, id=f"{name}={repr(value)[:40]}") for name, values in table for value in values]


@pytest.mark.parametrize(("name", "value"), rows(WRONG_VALUES + WRONG_CHAT_VALUES))
def test_a_wrong_value_in_a_chat_body_is_refused_by_name(client: httpx.Client, name: str, value: Any) -> None:
    stream = {"stream": True} if name == "stream_options" else {}
    error = refusal(post(client, CHAT, chat(**stream, **{name: value})))
    # Python writes what no double holds as digits; our parser does not read such a number at all.
    assert error["param"] == (None if value == 10**400 else name)


@pytest.mark.parametrize(("name", "value"), rows(WRONG_VALUES + WRONG_COMPLETION_VALUES))
def test_a_wrong_value_in_a_completion_body_is_refused_by_name(client: httpx.Client, name: str, value: Any) -> None:
    stream = {"stream": True} if name == "stream_options" else {}
    error = refusal(post(client, COMPLETIONS, completion(**stream, **{name: value})))
    assert error["param"] == (None if value == 10**400 else name)


def test_a_missing_field_is_named(client: httpx.Client) -> None:
    body = {"model": "demo"}
    error = refusal(post(client, CHAT, json.dumps(body).encode()))
    assert (error["param"], error["message"]) == ("messages", "messages: a value is required")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"model": "demo", "temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e999}',
        b'{"model": "\\ud800"}',
        b'{"model": "\xff"}',
        b'{"seed": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"\xef\xbb\xbf{}",
        b"{} x",
    ],
)
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert refusal(post(client, CHAT, body))["param"] is None


@pytest.mark.parametrize("name", ["temperature", "messages", "stop", "chat_template_kwargs"])
def test_a_value_nested_almost_too_deep_to_read_is_refused_by_name(client: httpx.Client, name: str) -> None:
    deep = b"[" * 1000 + b"]" * 1000 if name != "chat_template_kwargs" else b'{"a":' * 500 + b"1" + b"}" * 500
    body = b'{"model":"demo","messages":[{"role":"user","content":"x"}],"%b":%b}' % (name.encode(), deep)
    assert refusal(post(client, CHAT, body))["param"] == name


@pytest.mark.parametrize(("opens", "closes"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_template_arguments_may_be_as_deep_as_the_refusal_of_deeper_ones_says(
    client: httpx.Client, opens: bytes, closes: bytes
) -> None:
    def ask(depth: int) -> httpx.Response:
        value = opens * (depth - 1) + b"1" + closes * (depth - 1)
        body = chat()[:-1] + b', "chat_template_kwargs": {"x": %b}}' % value
        return post(client, CHAT, body)

    assert ask(253).status_code == 200
    for depth in (254, 255, 256):
        error = refusal(ask(depth))
        assert error["param"] == "chat_template_kwargs"
        assert error["message"].endswith("nested no deeper than 253")


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""])
def test_only_json_is_accepted(client: httpx.Client, content_type: str) -> None:
    response = client.post(CHAT, content=chat(), headers={"content-type": content_type})
    assert refusal(response, 415)["code"] == "unsupported_media_type"


def test_a_compressed_body_is_refused(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert "content-encoding" in refusal(client.post(CHAT, content=chat(), headers=headers), 415)["message"]


def test_a_body_without_a_content_type_is_refused_because_any_web_page_can_send_one(client: httpx.Client) -> None:
    assert refusal(client.post(CHAT, content=chat()), 415)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused_even_without_a_declared_length(chunked: bool) -> None:
    pieces = [b" " * 1024] * 5
    with serving(ScriptedBackend(), max_body_bytes=4096) as gateway:
        content = iter(pieces) if chunked else b"".join(pieces)
        response = httpx.post(gateway.url + CHAT, content=content, headers={"content-type": "application/json"})
    assert refusal(response, 413)["code"] == "body_too_large"


def test_null_is_the_same_as_absent(client: httpx.Client) -> None:
    names = [name for name, _ in WRONG_VALUES + WRONG_CHAT_VALUES if name not in {"model", "messages"}]
    response = post(client, CHAT, chat(**dict.fromkeys(names)))
    assert response.status_code == 200
    assert "x-ignored-parameters" not in response.headers


def test_an_integer_passes_for_a_float(client: httpx.Client) -> None:
    assert post(client, CHAT, chat(temperature=1, top_p=1)).status_code == 200


FORMS_THAT_OTHER_SERVERS_TAKE: list[dict[str, Any]] = [
    {"max_tokens": 100.0, "top_k": 40.0, "seed": 1.0},
    {"max_tokens": -1},
    {"max_completion_tokens": -1},
    {"stop": ""},
    {"stop": ["", "x"]},
    {"stop": ["a", "b", "c", "d", "e"]},
    {"stream_options": {"include_usage": False}},
    {"messages": [HELLO, {"role": "assistant", "content": None}, HELLO]},
    {"messages": [HELLO, {"role": "assistant", "content": None, "tool_calls": []}, HELLO]},
    {"messages": [HELLO, {"role": "assistant", "content": None, "tool_calls": [{"id": None, **FUNCTION}]}]},
    {"messages": [HELLO, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
    {"messages": [HELLO, {"role": "tool", "tool_call_id": None, "content": "1"}]},
]


@pytest.mark.parametrize("fields", FORMS_THAT_OTHER_SERVERS_TAKE, ids=str)
def test_a_form_that_other_servers_take_is_taken(client: httpx.Client, fields: dict[str, Any]) -> None:
    assert post(client, CHAT, chat(**fields)).status_code == 200


def test_stream_options_without_stream_are_refused(client: httpx.Client) -> None:
    assert refusal(post(client, CHAT, chat(stream_options={"include_usage": True})))["param"] == "stream_options"
