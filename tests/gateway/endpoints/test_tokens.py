"""Paths that tokenize without an engine; in the scripted backend a byte is a token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from gateway.endpoints.tokens import TOKEN_PATHS
from tests.gateway.dialects.anthropic import agent_requests
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import serving

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = b'{"messages":[{"role":"user","content":"Hello"}],"tools":null,"template_arguments":{}}'


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(ScriptedBackend(cards={"demo": CARD})) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def post(client: httpx.Client, path: str, **fields: Any) -> Any:
    response = client.post(path, json=fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("path", ["/tokenize", "/v1/tokenize"])
def test_a_text_or_a_conversation_is_tokenized(client: httpx.Client, path: str) -> None:
    assert post(client, path, model="demo", prompt="Hi") == {
        "count": 2,
        "max_model_len": 512,
        "tokens": [72, 105],
        "token_strs": None,
    }
    assert post(client, path, prompt="Hi", return_token_strs=True)["token_strs"] == ["H", "i"]
    assert post(client, path, prompt="")["tokens"] == []
    assert bytes(post(client, path, messages=HELLO, return_token_strs=False)["tokens"]) == CHAT


def test_tokens_have_a_text(client: httpx.Client) -> None:
    for path in ("/detokenize", "/v1/detokenize"):
        assert post(client, path, tokens=[72, 105]) == {"prompt": "Hi"}
    assert post(client, "/detokenize", model="demo", tokens=[]) == {"prompt": ""}


def test_prompts_are_rendered_as_their_engine_would_get_them(client: httpx.Client) -> None:
    chat = post(client, "/v1/chat/completions/render", model="demo", messages=HELLO, max_tokens=5, stop="x")
    assert (bytes(chat["token_ids"]), chat["text"].encode(), chat["model"]) == (CHAT, CHAT, "demo")
    assert chat["sampling_params"] == {"n": 1, "stop": ["x"], "max_tokens": 5}
    prompts = post(client, "/v1/completions/render", model="demo", prompt=["a", "bc"])
    assert [one["token_ids"] for one in prompts] == [[97], [98, 99]]
    assert len({one["request_id"] for one in prompts}) == 2
    message = post(client, "/v1/messages/render", model="demo", messages=HELLO, max_tokens=5)
    assert message["text"].encode() == CHAT


def test_tokens_of_a_message_are_counted(client: httpx.Client) -> None:
    with anthropic.Anthropic(base_url=str(client.base_url), api_key="none", max_retries=0) as ours:
        count = ours.messages.count_tokens(model="demo", messages=[{"role": "user", "content": "Hello"}])
        assert count.input_tokens == len(CHAT)
        for body in agent_requests.ALL:
            of_prompt = {
                name: body[name] for name in ("model", "messages", "system", "tools", "thinking") if name in body
            }
            assert ours.messages.count_tokens(**of_prompt).input_tokens > len(CHAT) - 9


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "request"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "request"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"messages": [{"role": "wizard"}]}, "messages"),
        ("/tokenize", {"messages": HELLO, "add_special_tokens": True}, "add_special_tokens"),
        ("/tokenize", {"prompt": "a", "model": 5}, "model"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
        ("/detokenize", {"tokens": [2**40]}, "tokens"),
        ("/v1/completions/render", {"model": "demo", "prompt": ""}, "prompt"),
        ("/v1/messages/count_tokens", {"model": "demo", "messages": []}, "messages"),
        ("/v1/messages/count_tokens", {"model": "demo", "messages": HELLO, "thread": {"type": "create"}}, "thread"),
    ],
)
def test_an_error_names_its_field(client: httpx.Client, path: str, fields: dict[str, Any], param: str) -> None:
    response = client.post(path, json=fields)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith(param)


@pytest.mark.parametrize("path", TOKEN_PATHS)
def test_every_path_knows_its_bounds_models_and_keys(path: str) -> None:
    body = {"model": "other", "messages": HELLO, "max_tokens": 5}
    if "detokenize" in path or "completions/render" in path:
        body |= {"tokens": [1], "prompt": "a"}
    with serving(ScriptedBackend(), api_key="a-key-of-our-own", max_body_bytes=2048) as gateway:
        assert httpx.post(gateway.url + path, json=body).status_code == 401
        with httpx.Client(base_url=gateway.url, headers={"authorization": "Bearer a-key-of-our-own"}) as client:
            assert client.post(path, json=body).status_code == 404
            assert client.post(path, json={"model": "demo", "x": "x" * 4000}).status_code == 413
            assert client.post(path, content=b"{}").status_code == 415
            assert client.get(path).status_code == 405


def test_every_path_is_described_with_its_body_its_answer_and_its_errors(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, one in TOKEN_PATHS.items():
        described = schema["paths"][path]["post"]
        name = described["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert name == one.body.__name__
        assert name in schema["components"]["schemas"]
        assert described["responses"]["200"]["content"]["application/json"]["schema"]
        assert one.dialect.error_model.__name__ in str(described["responses"]["400"])
