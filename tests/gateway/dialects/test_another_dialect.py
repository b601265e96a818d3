"""A dialect of another API is a folder of its own and a path in the table: nothing else knows which API is spoken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import httpx
import pytest
from pydantic import BaseModel

from gateway.answers.backend import PromptText
from gateway.answers.events import Event, Finish, Text, Usage, WholeAnswer
from gateway.answers.request import AnswerRequest
from gateway.dialects.dialect import Call, Head
from gateway.endpoints.routes import OPERATIONS
from tests.gateway.scripted_backend import ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed, InvalidRequest, RequestError
from triton_repo.contract.sampling import Sampling

PATH: Final = "/v2/lines"
KEY: Final = "a-key-of-our-own"


class Ask(BaseModel):
    question: str
    limit: int | None = None


class Answer(BaseModel):
    answer: str
    tokens: int


class Problem(BaseModel):
    problem: str


class Lines:
    """Keys in a header of their own, errors without an envelope."""

    key_hint: Final = "x-key: KEY"
    error_model: Final = Problem
    ping: Final = b": still here\n\n"
    id_headers: Final = (b"x-line-id",)

    def error_body(self, error: RequestError, request_id: str) -> bytes:  # noqa: ARG002
        return json.dumps({"problem": f"{error.param}: {error.message}"}).encode()

    def api_keys(self, headers: Mapping[bytes, list[bytes]]) -> list[bytes]:
        return headers.get(b"x-key", [])


class Question:
    dialect: Final = Lines()
    body: Final = Ask
    answer: Final = Answer
    event: Final = None

    def parse(self, fields: dict[str, Any]) -> Call:
        if "question" not in fields:
            raise InvalidRequest("there is no question", "question")
        ask = Ask.model_validate(fields)
        sampling = Sampling(max_tokens=ask.limit)
        request = AnswerRequest("demo", [PromptText(ask.question)], sampling, stream=bool(fields.get("stream")))
        return Call(request, partial(LineEncoder), sent_as={"max_tokens": "limit"})


class LineEncoder:
    """Named events, an end of its own, and an error event."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def start(self) -> bytes:
        return self._event("begin", self._head.model)

    def event(self, event: Event) -> bytes:
        match event:
            case Text(_, text):
                return self._event("text", text)
            case Finish(_, reason):
                return self._event("reason", reason)
            case Usage(_, completion_tokens):
                return self._event("tokens", str(completion_tokens))
        return b""

    def finish(self) -> bytes:
        return self._event("end", "")

    def fail(self, error: RequestError) -> bytes:
        return self._event("problem", f"{error.param}: {error.message}")

    def whole(self, answer: WholeAnswer) -> bytes:
        return json.dumps({"answer": answer.choices[0].text, "tokens": answer.usage.completion_tokens}).encode()

    def _event(self, name: str, data: str) -> bytes:
        return f"event: {name}\ndata: {data}\n\n".encode()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    monkeypatch.setitem(OPERATIONS, PATH, Question())
    return ScriptedBackend()


@pytest.fixture
def client(backend: ScriptedBackend) -> Iterator[httpx.Client]:
    with serving(backend, api_key=KEY) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def ask(client: httpx.Client, key: str = KEY, **fields: Any) -> httpx.Response:
    return client.post(PATH, json=fields, headers={"x-key": key})


def test_it_streams_its_own_events_and_the_same_text_as_a_whole(client: httpx.Client) -> None:
    streamed = ask(client, question="Hello?", stream=True)
    events = [tuple(line.split(": ", 1)[1] for line in event.split("\n")) for event in streamed.text.split("\n\n")[:-1]]
    assert events == [
        ("begin", "demo"),
        ("text", "Hello"),
        ("text", " world"),
        ("reason", "stop"),
        ("tokens", "2"),
        ("end", ""),
    ]
    assert ask(client, question="Hello?").json() == {"answer": "Hello world", "tokens": 2}


def test_its_errors_and_keys_are_its_own(client: httpx.Client, backend: ScriptedBackend) -> None:
    wrong_key = ask(client, key="other", question="Hello?")
    assert (wrong_key.status_code, wrong_key.json()) == (
        401,
        {"problem": "None: a valid API key is required: x-key: KEY"},
    )
    assert client.post(PATH, json={}, headers={"authorization": f"Bearer {KEY}"}).status_code == 401
    assert ask(client).json() == {"problem": "question: there is no question"}
    backend.script = (InvalidRequest("max_tokens = 9 is too many", "max_tokens"),)
    assert ask(client, question="Hello?", limit=9).json() == {"problem": "limit: max_tokens = 9 is too many"}
    backend.script = (delta("Hel"), EngineFailed("the engine failed"))
    assert ask(client, question="Hello?", stream=True).text.endswith(
        "event: problem\ndata: None: the engine failed\n\n"
    )


def test_it_is_described_with_the_others(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    described = schema["paths"][PATH]["post"]
    assert described["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Ask"}
    assert described["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    assert described["responses"]["200"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}},
        "text/event-stream": {},
    }
    assert {"Ask", "Problem", "ErrorBody", "ChatCompletionRequest"} <= set(schema["components"]["schemas"])
