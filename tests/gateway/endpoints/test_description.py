"""What the server answers is what `/openapi.json` says: of every path, whole and streamed, right and wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.endpoints.routes import OPERATIONS
from tests.gateway.echo_models import EchoModels
from tests.gateway.endpoints.described import Description, Json
from tests.gateway.orders import orders_taken
from tests.gateway.scripted_backend import CARD, HANG, ScriptedBackend, delta
from tests.gateway.server import serving
from triton_repo.contract.errors import EngineFailed
from triton_repo.contract.health.model_orders import Order, Outcome
from triton_repo.contract.model_card import EncoderCard, ModelCard, ReasoningCard
from triton_repo.contract.tensors import FinishReason

KEYS = {"authorization": "Bearer sk-operator"}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
TOP = [{"token": "x", "logprob": -0.25, "bytes": [120]}]
RANKED = {"logprob": -0.5, "rank": 1, "decoded_token": "x"}
SAYS = ("<think>Well.</think>", "Here it is. ", CALL)
CARDS = {
    "demo": replace(CARD, max_logprobs=5, max_prompt_logprobs=5),
    "agent": replace(CARD, max_logprobs=5, tool_parser="hermes", reasoning=ReasoningCard("qwen3")),
    "embed": ModelCard(512, "embed", encoder=EncoderCard("embed", 2, (1,))),
    "rerank": ModelCard(512, "embed", encoder=EncoderCard("rerank", 1)),
    "classify": ModelCard(512, "embed", encoder=EncoderCard("classify", 2, labels=("long", "short"))),
}
HELLO = [{"role": "user", "content": "Hello"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "weather", "description": "The weather.", "parameters": PARAMETERS}
OPENAI_TOOL = {"type": "function", "function": FUNCTION}
FLAT_TOOL = {"type": "function", **FUNCTION}
CUSTOM = {"type": "custom", "name": "weather", "format": {"type": "grammar", "syntax": "regex", "definition": "a"}}
CUSTOM_CHOICE = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "weather"}]}
ANTHROPIC_TOOL = {"name": "weather", "input_schema": PARAMETERS}
OPTIONS = {"include_usage": True}
CHAT, TEXT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"


def said(text: str, reason: FinishReason = "", count: int = 1) -> Any:
    entry = {"token": text, "logprob": -1.5, "bytes": [*text.encode()], "top_logprobs": TOP, "text_length": len(text)}
    prompt = json.dumps({"token_ids": [1, 2], "logprobs": [None, {"2": RANKED}]})
    said = delta(text, reason, count, cached_tokens=2)
    return said._replace(tokens=json.dumps([entry | {"token_id": 5}]), prompt=prompt if count == 1 else "")


@pytest.fixture(scope="module")
def backend() -> ScriptedBackend:
    return ScriptedBackend([said("Hello"), said(" END", "length", 2)], cards=CARDS, others=EchoModels())


async def carried_out(order: Order) -> Outcome:
    return Outcome(known=order.engine == "demo")


@pytest.fixture(scope="module")
def client(backend: ScriptedBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    socket = tmp_path_factory.mktemp("run") / "orders"
    with (
        orders_taken(socket, carried_out),
        serving(backend, admin_key="sk-operator", orders_socket=socket, other_models=("echo",)) as gateway,
        httpx.Client(base_url=gateway.url, headers=KEYS, timeout=120) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> Description:
    return Description(client.get("/openapi.json").json())


TEXTS: list[tuple[str, Json]] = [
    (CHAT, {"messages": HELLO}),
    (CHAT, {"messages": HELLO, "logprobs": True, "top_logprobs": 2, "n": 2, "stop": "END"}),
    (CHAT, {"messages": HELLO, "model": "agent", "tools": [OPENAI_TOOL]}),
    (CHAT, {"messages": HELLO, "model": "agent", "functions": [FUNCTION]}),
    (CHAT, {"messages": HELLO, "return_token_ids": True, "prompt_logprobs": 2}),
    (TEXT, {"prompt": "Hello"}),
    (TEXT, {"prompt": "Hello", "return_token_ids": True, "prompt_logprobs": 2, "n": 2}),
    (TEXT, {"prompt": ["Hello", "you"], "logprobs": 2, "stop": "END"}),
    (MESSAGES, {"messages": HELLO, "max_tokens": 5}),
    (MESSAGES, {"messages": HELLO, "max_tokens": 5, "stop_sequences": ["END"]}),
    (MESSAGES, {"messages": HELLO, "max_tokens": 5, "model": "agent", "tools": [ANTHROPIC_TOOL]}),
    (CHAT, {"messages": HELLO, "model": "agent", "tools": [{"type": "custom", "custom": {"name": "weather"}}]}),
    (RESPONSES, {"input": "Hello"}),
    (RESPONSES, {"input": "Hello", "model": "agent", "tools": [CUSTOM], "tool_choice": CUSTOM_CHOICE}),
    (RESPONSES, {"input": "Hello", "top_logprobs": 2, "metadata": {"a": "b"}, "max_output_tokens": 9}),
    (RESPONSES, {"input": "Hello", "model": "agent", "tools": [FLAT_TOOL], "instructions": "Be brief."}),
    (
        RESPONSES,
        {
            "input": "Hello",
            "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "string"}}},
            "reasoning": {"effort": "low"},
        },
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "fields"), TEXTS)
def test_an_answer_is_as_described(
    client: httpx.Client, backend: ScriptedBackend, description: Description, *, path: str, fields: Json, stream: bool
) -> None:
    script = [said("Hello"), said(" END", "length", 2)]
    if fields.get("model") == "agent":
        script = [*map(said, SAYS), said("", "stop", 9)]
    if "text" in fields:
        script = [said('"Hello"', "stop")]
    backend.script = script
    options: Json = {"stream": True} if stream else {}
    if stream and path in (CHAT, TEXT):
        options["stream_options"] = OPTIONS
    response = client.post(path, json={"model": "demo", **fields, **options})
    assert response.status_code == 200, response.text
    description.check(path, response)


@pytest.mark.parametrize("path", OPERATIONS)
def test_a_stream_that_fails_and_a_request_that_is_rejected_are_as_described(
    client: httpx.Client, backend: ScriptedBackend, description: Description, path: str
) -> None:
    backend.script = [said("Hello"), EngineFailed("it broke")]
    fields = {"model": "demo", "messages": HELLO, "max_tokens": 5, "stream": True}
    if path == TEXT:
        fields["prompt"] = "Hello"
    if path == RESPONSES:
        fields = {"model": "demo", "input": "Hello", "stream": True}
    response = client.post(path, json=fields)
    assert "it broke" in response.text
    description.check(path, response)
    description.check(path, client.post(path, json={"model": "demo"}))
    description.check(path, client.post(path, json={**fields, "model": "none"}))
    description.check(path, client.post(path, content=b"x"))


def test_what_is_kept_of_responses_is_as_described(
    client: httpx.Client, backend: ScriptedBackend, description: Description
) -> None:
    backend.script = [said("Hello"), said(" END", "stop", 2)]
    call = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"}
    items = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Well."}], "summary": []},
        call,
        {"type": "function_call_output", "call_id": "a", "output": "Rain."},
    ]
    tools = {"tools": [FLAT_TOOL], "tool_choice": {"type": "function", "name": "weather"}}
    choices = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}
    for fields in (tools, {**tools, "tool_choice": choices}):
        body = {"model": "agent", "input": "Hello", "background": True, **fields}
        description.check(RESPONSES, client.post(RESPONSES, json=body))
    background = client.post(RESPONSES, json={"model": "demo", "input": "x", "background": True, "stream": True})
    description.check(RESPONSES, background)
    id = json.loads(background.text.split("data: ")[1].split("\n")[0])["response"]["id"]
    path = RESPONSES + "/{response}"
    description.check(path, client.get(f"{RESPONSES}/{id}", params={"stream": "true"}))
    description.check(path + "/cancel", client.post(f"{RESPONSES}/{id}/cancel"))
    kept = client.post(RESPONSES, json={"model": "demo", "input": items}).json()["id"]
    description.check(path, client.get(f"{RESPONSES}/{kept}"))
    description.check(path + "/input_items", client.get(f"{RESPONSES}/{kept}/input_items"))
    description.check(path, client.delete(f"{RESPONSES}/{kept}"))
    description.check(path, client.get(f"{RESPONSES}/{kept}"))
    description.check(
        RESPONSES + "/input_tokens", client.post(RESPONSES + "/input_tokens", json={"model": "demo", "input": "Hello"})
    )


def test_conversations_are_as_described(client: httpx.Client, description: Description) -> None:
    all_of_them = "/v1/conversations"
    one, items = all_of_them + "/{conversation}", all_of_them + "/{conversation}/items"
    call = {"type": "custom_tool_call", "call_id": "a", "name": "weather", "input": "{}"}
    output = {"type": "custom_tool_call_output", "call_id": "a", "output": "Rain."}
    made = client.post(all_of_them, json={"items": [HELLO[0], call, output], "metadata": {"a": "b"}})
    description.check(all_of_them, made)
    description.check(all_of_them, client.post(all_of_them, json={"items": "x"}))
    path = f"{all_of_them}/{made.json()['id']}"
    response = client.post(RESPONSES, json={"model": "demo", "input": "Hello", "conversation": made.json()["id"]})
    description.check(RESPONSES, response)
    for _ in range(2):
        description.check(one, client.get(path))
        description.check(one, client.post(path, json={"metadata": {"a": "c"}}))
        description.check(items, client.post(path + "/items", json={"items": HELLO}))
        listed = client.get(path + "/items")
        description.check(items, listed)
        id = listed.json()["data"][0]["id"] if listed.status_code == 200 else "none"
        description.check(items + "/{item}", client.get(f"{path}/items/{id}"))
        description.check(items + "/{item}", client.delete(f"{path}/items/{id}"))
        description.check(one, client.delete(path))


def test_decisions_are_as_described(client: httpx.Client, backend: ScriptedBackend, description: Description) -> None:
    backend.script = [said("A", "length")]
    asked = {"instructions": "Is it?", "name": "it"}
    questions: list[Json] = [
        {**asked, "type": "predicate"},
        {**asked, "type": "choice", "choices": [{"value": True}, {"value": "x", "description": "An x."}]},
        {**asked, "type": "score", "levels": [{"label": "low"}, {"label": "high"}]},
    ]
    path, body = "/v1/decisions", {"model": "demo", "input": "Hello", "questions": questions}
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    description.check(path, answer)
    description.check(path, client.post(path, json={**body, "questions": []}))


POSTS: list[tuple[str, Json]] = [
    *(
        (path, {"model": "demo", "prompt": "Hello", "return_token_strs": True})
        for path in ("/tokenize", "/v1/tokenize")
    ),
    ("/tokenize", {"model": "demo", "messages": HELLO}),
    *((path, {"model": "demo", "tokens": [72, 105]}) for path in ("/detokenize", "/v1/detokenize")),
    ("/v1/chat/completions/render", {"model": "demo", "messages": HELLO, "seed": 1}),
    ("/v1/completions/render", {"model": "demo", "prompt": ["a", "b"]}),
    ("/v1/messages/render", {"model": "demo", "messages": HELLO, "max_tokens": 4}),
    ("/v1/messages/count_tokens", {"model": "demo", "messages": HELLO}),
    ("/v1/embeddings", {"model": "embed", "input": ["a", "bc"]}),
    ("/v1/embeddings", {"model": "embed", "input": "a", "encoding_format": "base64"}),
    *(
        (path, {"model": "rerank", "query": "a", "documents": ["b"]})
        for path in ("/rerank", "/v1/rerank", "/v2/rerank")
    ),
    ("/rerank", {"model": "embed", "query": "a", "documents": ["b"], "return_documents": False}),
    *((path, {"model": "embed", "text_1": "a", "text_2": ["b", "c"]}) for path in ("/score", "/v1/score")),
    *((path, {"model": "classify", "input": "a"}) for path in ("/classify", "/v1/classify")),
]


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_what_tokenizes_or_encodes_answers_as_described(
    client: httpx.Client, description: Description, path: str, body: Json
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    description.check(path, response)
    description.check(path, client.post(path, json={**body, "model": "none"}))


GETS = [
    *("/health", "/health/live", "/health/ready", "/metrics"),
    *("/ping", "/v1/health", "/v1/health/live", "/v1/health/ready", "/v1/metrics"),
    *("/version", "/v1/version", "/v1/metadata", "/v1/models", "/admin/status", "/admin/models"),
    *("/v2", "/v2/health/live", "/v2/health/ready"),
]


@pytest.mark.parametrize("path", GETS)
def test_what_runs_here_is_told_as_described(
    client: httpx.Client, backend: ScriptedBackend, description: Description, path: str
) -> None:
    response = client.get(path)
    assert response.status_code == 200, response.text
    description.check(path, response)
    description.check(path, client.get(path, headers={"accept": "application/openmetrics-text"}))
    if "ready" in path:
        backend.unavailable = "no engine is ready"
        description.check(path, client.get(path))
        backend.unavailable = None


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
def test_models_are_described_in_the_forms_of_both_apis(
    client: httpx.Client, description: Description, headers: dict[str, str]
) -> None:
    description.check("/v1/models", client.get("/v1/models", headers=headers))
    for name in ("demo", "embed", "none"):
        description.check("/v1/models/{model}", client.get(f"/v1/models/{name}", headers=headers))
    description.check("/v1/models/{model}/capabilities", client.get("/v1/models/demo/capabilities"))


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_orders_for_engines_are_answered_as_described(
    client: httpx.Client, description: Description, verb: str
) -> None:
    for model in ("demo", "none"):
        description.check(f"/v1/models/{{model}}/{verb}", client.post(f"/v1/models/{model}/{verb}"))


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_orders_for_adapters_are_answered_as_described(
    client: httpx.Client, description: Description, verb: str
) -> None:
    body = {"path": "french"} if verb == "load" else None
    description.check(f"/v1/models/{{model}}/{verb}", client.post(f"/v1/models/demo:french/{verb}", json=body))
    path = f"/v1/{verb}_lora_adapter"
    of_vllm = {"lora_path": "french"} if verb == "load" else {}
    for name in ("demo:french", "none:french", "french"):
        description.check(path, client.post(path, json={"lora_name": name, **of_vllm}))


@pytest.mark.parametrize("versions", ["", "/versions/{version}"])
def test_models_beside_the_engines_are_as_described(
    client: httpx.Client, description: Description, versions: str
) -> None:
    path = "/v2/models/{model}" + versions
    for end in ("", "/ready", "/config", "/stats"):
        for name in ("echo", "none"):
            description.check(path + end, client.get((path + end).format(model=name, version=1)))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5], "parameters": {"a": "b"}}
    for binary in (True, False):
        body = {"id": "a", "inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": binary}}]}
        description.check(path + "/infer", client.post(path.format(model="echo", version=1) + "/infer", json=body))
    description.check(path + "/infer", client.post(path.format(model="echo", version=1) + "/infer", json={}))


def test_files_and_batches_are_as_described(
    client: httpx.Client, backend: ScriptedBackend, description: Description
) -> None:
    backend.script = [HANG]  # so that the batch can be cancelled
    line = json.dumps({"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "demo", "messages": HELLO}})
    form = {"purpose": "batch"}
    uploaded = client.post("/v1/files", files={"file": ("in.jsonl", line)}, data=form)
    description.check("/v1/files", uploaded)
    description.check("/v1/files", client.post("/v1/files", data=form))
    description.check("/v1/files", client.get("/v1/files"))
    id = uploaded.json()["id"]
    description.check("/v1/files/{file}/content", client.get(f"/v1/files/{id}/content"))
    asked = {"input_file_id": id, "endpoint": CHAT, "completion_window": "24h", "metadata": {"a": "b"}}
    batch = client.post("/v1/batches", json=asked)
    description.check("/v1/batches", batch)
    description.check("/v1/batches", client.post("/v1/batches", json={**asked, "endpoint": "/v1/nothing"}))
    description.check("/v1/batches", client.get("/v1/batches"))
    path = "/v1/batches/{batch}"
    for each in (batch.json()["id"], "none"):
        description.check(path, client.get(f"/v1/batches/{each}"))
        description.check(path + "/cancel", client.post(f"/v1/batches/{each}/cancel"))
    description.check("/v1/files/{file}", client.get(f"/v1/files/{id}"))
    for _ in range(2):
        description.check("/v1/files/{file}", client.delete(f"/v1/files/{id}"))


def test_every_path_has_been_seen_to_answer_as_described(description: Description) -> None:
    """The last one: whatever path is added is held to its description here."""
    paths = {(method, path) for path, methods in description.paths.items() for method in methods}
    good = {(method, path) for method, path, status, _ in description.seen if status == 200}
    assert paths - good == set()
