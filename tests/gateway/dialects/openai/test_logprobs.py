"""`logprobs` over HTTP: OpenAI's shapes, and the same list of tokens however an answer is sent and cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from gateway.answers.backend import Delta
from gateway.answers.events import Text
from gateway.answers.tokens import Token
from gateway.dialects.dialect import Head
from gateway.dialects.openai.chat import ChatEncoder
from gateway.dialects.openai.form import ChatForm
from tests.gateway.bodies import CHAT, COMPLETIONS, chat, completion, post, refusal
from tests.gateway.scripted_backend import ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.tensors import FinishReason

CARDS = {
    "demo": ModelCard(512, "scripted", 0, True, "a test", max_logprobs=20),
    "chosen": ModelCard(512, "openvino", 0, True, "a test", max_logprobs=0),
    "long": ModelCard(131_072, "scripted", 0, True, "a test", max_logprobs=20),
    "none": ModelCard(512, "tensorrt_llm", 0, True, "a test", unsupported=("logprobs",), max_logprobs=20),
}
TOP = [{"token": " x", "logprob": -0.25, "bytes": [32, 120]}]
Ask = Callable[..., list[Any]]

GOLDEN_CHUNK = (
    b'data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"demo",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" h\xc3\xa9"},"logprobs":{"content":['
    b'{"token":" h\xc3\xa9","logprob":-1.5,"bytes":[32,104,195,169],"top_logprobs":'
    b'[{"token":" x","logprob":-0.25,"bytes":[32,120]}]}],"refusal":null},"finish_reason":null}]}\n\n'
)


def entry(text: str, logprob: float = -1.5, length: int | None = None) -> dict[str, Any]:
    of_text = {"token": text, "logprob": logprob, "bytes": [*text.encode()], "top_logprobs": TOP}
    return of_text | {"text_length": len(text) if length is None else length}


def delta(tokens: Sequence[str], reason: FinishReason = "") -> Delta:
    """A delta that says its tokens."""
    return Delta("".join(tokens), reason, 3, -1, len(tokens), json.dumps([entry(token) for token in tokens]))


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend(cards=CARDS)


@pytest.fixture(scope="module")
def http(gateway: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url) as client:
        yield client


@pytest.fixture
def ask(http: httpx.Client, backend: ScriptedBackend) -> Ask:
    return partial(asked, http, backend)


def asked(
    http: httpx.Client, backend: ScriptedBackend, script: Sequence[Any], path: str = CHAT, **fields: Any
) -> list[Any]:
    """The choices of an answer: one if it is whole, else those of all chunks."""
    make = chat if path == CHAT else completion
    backend.script = script
    response = post(http, path, make(**fields))
    assert response.status_code == 200, response.text
    if not fields.get("stream"):
        return list(response.json()["choices"])
    events = [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]
    return [choice for event in events for choice in event["choices"]]


def content(choices: Sequence[Any], index: int = 0) -> list[Any]:
    mine = [choice["logprobs"] for choice in choices if choice["index"] == index and choice["logprobs"]]
    return [token for logprobs in mine for token in logprobs["content"]]


def test_a_streamed_chunk_with_logprobs_byte_for_byte() -> None:
    token = {key: value for key, value in entry(" hé").items() if key != "text_length"}
    encoder = ChatEncoder(Head("ID", 1700000000, "demo", "fp_1"), ChatForm())
    assert encoder.event(Text(0, " hé", [Token(orjson.dumps(token), 0)])) == GOLDEN_CHUNK


def test_a_whole_chat_lists_every_token_with_its_alternatives(ask: Ask) -> None:
    [choice] = ask([delta(["Hel", "lo"]), delta(["!"], "stop")], logprobs=True, top_logprobs=1)
    assert choice["logprobs"]["refusal"] is None
    assert [list(token) for token in choice["logprobs"]["content"]] == [
        ["token", "logprob", "bytes", "top_logprobs"]
    ] * 3
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["Hel", "lo", "!"]
    assert choice["logprobs"]["content"][0]["top_logprobs"] == TOP


def test_a_completion_has_the_legacy_shape_streamed_and_whole(ask: Ask) -> None:
    script = [delta(["Hel", "lo"]), delta(["!"], "stop")]
    [whole] = ask(script, COMPLETIONS, logprobs=1)
    assert whole["logprobs"] == {
        "tokens": ["Hel", "lo", "!"],
        "token_logprobs": [-1.5] * 3,
        "top_logprobs": [{" x": -0.25, "Hel": -1.5}, {" x": -0.25, "lo": -1.5}, {" x": -0.25, "!": -1.5}],
        "text_offset": [0, 3, 5],
    }
    chunks = [choice["logprobs"] for choice in ask(script, COMPLETIONS, logprobs=1, stream=True) if choice["logprobs"]]
    assert len(chunks) == 2
    for key, values in whole["logprobs"].items():
        assert [value for chunk in chunks for value in chunk[key]] == values


def test_without_logprobs_there_are_none(ask: Ask) -> None:
    assert {str(choice["logprobs"]) for choice in ask([delta(["a"], "stop")], stream=True)} == {"None"}
    assert ask([delta(["a"], "stop")])[0]["logprobs"] is None


def test_an_answer_without_tokens_has_an_empty_list(ask: Ask) -> None:
    assert ask([Delta("", "stop", 3, -1, 1)], logprobs=True)[0]["logprobs"] == {"content": [], "refusal": None}


def test_the_tokens_of_an_unfinished_character_wait_for_it_and_come_in_order(ask: Ask) -> None:
    parts = [entry("\ufffd", -1, 0), entry("\ufffd", -2, 0), entry("\ufffd", -3, 1)]
    script = [
        delta(["a"]),
        *(Delta("🐚" if part["text_length"] else "", "", 3, -1, 1, json.dumps([part])) for part in parts),
        delta(["b"], "stop"),
    ]
    choices = ask(script, logprobs=True, stream=True)
    by_text = [(choice["delta"].get("content"), len(content([choice]))) for choice in choices]
    assert by_text == [("", 0), ("a", 1), ("🐚", 3), ("b", 1), (None, 0)]


def test_a_character_that_stays_broken_is_listed_at_the_end(ask: Ask) -> None:
    script = [
        delta(["a"]),
        Delta("", "", 3, -1, 1, json.dumps([entry("\ufffd", -1, 0)])),
        Delta("", "length", 3, -1, 2),
    ]
    choices = ask(script, logprobs=True, stream=True)
    assert [token["token"] for token in content(choices)] == ["a", "\ufffd"]
    assert [choice["finish_reason"] for choice in choices][-2:] == [None, "length"]


TOKENS = ["one", " ", "tw", "o", " th", "ree", " four", " five"]


@pytest.mark.parametrize("size", range(1, len(TOKENS) + 1))
@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_cuts_the_list_behind_the_token_that_completes_it(ask: Ask, size: int, stream: bool) -> None:
    script = [delta(TOKENS[at : at + size]) for at in range(0, len(TOKENS), size)] + [delta([], "length")]
    choices = ask(script, logprobs=True, stop=["o thr"], stream=stream)
    text = "".join((choice["delta"] if stream else choice["message"]).get("content", "") for choice in choices)
    assert text == "one tw"
    assert [token["token"] for token in content(choices)] == ["one", " ", "tw", "o", " th", "ree"]


LONG: dict[str, Any] = {"model": "long", "logprobs": True, "top_logprobs": 20}


@pytest.mark.parametrize("fields", [LONG, {**LONG, "stream": True, "max_tokens": 131_000, "n": 8}])
def test_what_an_answer_might_have_is_no_reason_to_reject_it(ask: Ask, fields: dict[str, Any]) -> None:
    choices = ask([delta(["a"]), delta(["b"], "stop")], **fields)
    assert [token["token"] for token in content(choices)] == ["a", "b"]


def test_a_whole_answer_that_asks_for_more_logprobs_than_a_body_may_have_is_refused(http: httpx.Client) -> None:
    error = refusal(post(http, CHAT, chat(**LONG, max_tokens=131_000)))
    assert error["param"] == "top_logprobs"
    assert "at most 1048576 in one body: stream the answer, or lower max_tokens" in error["message"]


def test_every_choice_has_its_own_tokens(ask: Ask) -> None:
    choices = ask([delta(["a", "b"]), delta(["c"], "stop")], logprobs=True, stream=True, n=3)
    for index in range(3):
        assert [token["token"] for token in content(choices, index)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("fields", "path", "param"),
    [
        ({"top_logprobs": 2}, CHAT, "top_logprobs"),
        ({"top_logprobs": 2, "logprobs": False}, CHAT, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, CHAT, "top_logprobs"),
        ({"top_logprobs": -1, "logprobs": True}, CHAT, "top_logprobs"),
        ({"logprobs": 1}, CHAT, "logprobs"),
        ({"logprobs": 6}, COMPLETIONS, "logprobs"),
        ({"logprobs": True}, COMPLETIONS, "logprobs"),
        ({"logprobs": 2, "top_logprobs": 2}, COMPLETIONS, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 20, "n": 128, "max_tokens": 500}, CHAT, "top_logprobs"),
        ({"logprobs": 5, "n": 128, "prompt": [[1], [2]]}, COMPLETIONS, "n"),
        ({"model": "chosen", "top_logprobs": 1, "logprobs": True}, CHAT, "top_logprobs"),
        ({"model": "chosen", "logprobs": 1}, COMPLETIONS, "logprobs"),
        ({"model": "none", "logprobs": True}, CHAT, "logprobs"),
        ({"model": "none", "logprobs": 0}, COMPLETIONS, "logprobs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(http: httpx.Client, fields: dict[str, Any], path: str, param: str) -> None:
    body = (chat if path == CHAT else completion)(**fields)
    assert refusal(post(http, path, body))["param"] == param


@pytest.mark.parametrize(
    ("fields", "path", "alternatives"),
    [
        ({}, CHAT, None),
        ({"logprobs": False, "top_logprobs": 0}, CHAT, None),
        ({"logprobs": True}, CHAT, 0),
        ({"logprobs": True, "top_logprobs": 20}, CHAT, 20),
        ({"logprobs": 0}, COMPLETIONS, 0),
        ({"logprobs": 5}, COMPLETIONS, 5),
    ],
)
def test_the_engine_is_asked_for_so_many_alternatives(
    http: httpx.Client, backend: ScriptedBackend, fields: dict[str, Any], path: str, alternatives: int | None
) -> None:
    backend.script = [delta(["a"], "stop")]
    body = (chat if path == CHAT else completion)(**fields)
    assert post(http, path, body).status_code == 200
    assert backend.generations[-1].sampling.logprobs == alternatives


def test_the_first_token_of_a_prompt_has_no_logprob() -> None:
    first = {**entry("Hello"), "logprob": None, "top_logprobs": []}
    tokens = Delta("Hello x", "length", 1, -1, 1, json.dumps([first, entry(" x")]))
    backend = ScriptedBackend([tokens], cards={"demo": replace(CARDS["demo"], max_prompt_logprobs=20)})
    with serving(backend) as gateway, httpx.Client(base_url=gateway.url) as client:
        response = post(client, COMPLETIONS, completion(echo=True, logprobs=1, max_tokens=1))
    [choice] = response.json()["choices"]
    assert choice["text"] == "Hello x"
    assert choice["logprobs"]["token_logprobs"] == [None, -1.5]
    assert choice["logprobs"]["top_logprobs"][0] is None
