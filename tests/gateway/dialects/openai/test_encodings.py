"""Embeddings, reranking, scores and classes over HTTP, with a scripted encoder: two numbers for each text, its bytes
and 1."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from gateway.answers.backend import Encoded, Texts
from gateway.answers.encoding import MAX_TEXTS
from tests.gateway.scripted_backend import CARD, ScriptedBackend
from tests.gateway.server import Running, serving
from triton_repo.contract.errors import ContextLengthExceeded, EngineFailed
from triton_repo.contract.model_card import EncoderCard, ModelCard
from triton_repo.embed.wire import Options

EMBED = EncoderCard("embed", 2, (1,), prompts=("query",))
CARDS = {
    "demo": CARD,
    "embed": ModelCard(512, "embed", encoder=EMBED),
    "plain": ModelCard(512, "embed", encoder=EncoderCard("embed", 2)),
    "any": ModelCard(512, "embed", encoder=EncoderCard("embed", 2, ())),
    "rerank": ModelCard(512, "embed", encoder=EncoderCard("rerank", 1)),
    "classify": ModelCard(512, "embed", encoder=EncoderCard("classify", 2, labels=("long", "short"))),
}
WAIT_S = 120


@dataclass
class Encoder(ScriptedBackend):
    """Texts with "!" are too long, with "?" a fault; those with "…" are never done."""

    num_cancelled: int = 0

    async def encode(self, texts: Texts) -> Encoded:
        for row, first in enumerate(texts.firsts):
            if b"!" in first:
                raise ContextLengthExceeded(f"row {row}: too long", "input")
            if b"?" in first:
                raise EngineFailed("the engine failed")
            if "…".encode() in first:
                try:
                    await asyncio.sleep(WAIT_S)
                finally:
                    self.num_cancelled += 1
        if texts.model == "rerank":
            self.encoded.append(texts)
            scores = (len(second) / 10 for second in texts.seconds)
            return Encoded(b"".join(struct.pack("<f", score) for score in scores), len(texts.firsts))
        return await super().encode(texts)


@pytest.fixture(scope="module")
def backend() -> Encoder:
    return Encoder(cards=CARDS)


@pytest.fixture(scope="module")
def running(backend: Encoder) -> Iterator[Running]:
    with serving(backend, max_body_bytes=1 << 20) as gateway:
        yield gateway


@pytest.fixture
def client(running: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


def post(running: Running, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{running.url}{path}", json=body)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    return error


def test_the_openai_client_reads_embeddings_in_both_encodings(client: openai.OpenAI) -> None:
    whole = client.embeddings.create(model="embed", input=["a", "bcd"])  # base64, unless it is told otherwise
    assert [each.embedding for each in whole.data] == [[1.0, 1.0], [3.0, 1.0]]
    assert [each.index for each in whole.data] == [0, 1]
    assert (whole.object, whole.model, whole.usage.prompt_tokens, whole.usage.total_tokens) == ("list", "embed", 2, 2)
    floats = client.embeddings.create(model="embed", input="bcd", encoding_format="float")
    assert floats.data[0].embedding == [3.0, 1.0]


def test_base64_is_that_of_little_endian_floats(running: Running) -> None:
    body = post(running, "/v1/embeddings", model="embed", input="abc", encoding_format="base64").json()
    assert body["data"][0]["embedding"] == base64.b64encode(struct.pack("<ff", 3, 1)).decode()


def test_texts_come_back_in_the_order_in_which_they_were_sent(running: Running, backend: Encoder) -> None:
    texts = ["x" * (1 + index * 7 % 300) for index in range(500)]
    backend.encoded.clear()
    body = post(running, "/v1/embeddings", model="embed", input=texts).json()
    assert [each["embedding"][0] for each in body["data"]] == [len(text) for text in texts]
    assert len(backend.encoded) > 1
    for message in backend.encoded:  # each of texts of about the same length
        assert max(map(len, message.firsts)) - min(map(len, message.firsts)) < 60


@pytest.mark.parametrize(("input", "rows"), [([5, 6], [[5, 6]]), ([[5], [6, 7]], [[6, 7], [5]])])
def test_token_ids_reach_the_encoder_as_they_are(
    running: Running, backend: Encoder, input: Any, rows: list[list[int]]
) -> None:
    backend.encoded.clear()
    assert post(running, "/v1/embeddings", model="embed", input=input).status_code == 200
    (message,) = backend.encoded
    assert message.are_ids
    assert [[*struct.unpack(f"<{len(row) // 4}i", row)] for row in message.firsts] == rows


@pytest.mark.parametrize(
    "input",
    ["", [], [""], ["a", ""], [[]], [1, "a"], ["a", 1], [[1], "a"], [True], [-1], [2**31], 3, None, {}, [[1], [-2]]],
)
def test_input_that_is_no_text_is_rejected_by_name(running: Running, input: Any) -> None:
    response = post(running, "/v1/embeddings", model="embed", input=input)
    assert (response.status_code, error_of(response)["param"]) == (400, "input")


def test_more_texts_than_openai_takes_are_rejected(running: Running) -> None:
    assert post(running, "/v1/embeddings", model="embed", input=["a"] * MAX_TEXTS).status_code == 200
    assert post(running, "/v1/embeddings", model="embed", input=["a"] * (MAX_TEXTS + 1)).status_code == 400


@pytest.mark.parametrize(
    ("model", "dimensions", "status"),
    [("embed", 1, 200), ("embed", 2, 200), ("embed", 3, 400), ("plain", 1, 400), ("plain", 2, 200), ("any", 1, 200)],
)
def test_embeddings_are_cut_only_as_the_model_says_they_may(
    running: Running, model: str, dimensions: int, status: int
) -> None:
    response = post(running, "/v1/embeddings", model=model, input="abc", dimensions=dimensions)
    assert response.status_code == status
    if status == 400:
        assert error_of(response)["param"] == "dimensions"
    elif dimensions == 1:
        assert response.json()["data"][0]["embedding"] == [1.0]  # of length 1


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, Options()),
        ({"truncate": "NONE"}, Options()),
        ({"truncate_prompt_tokens": -1}, Options(truncate_to=0)),
        ({"truncate_prompt_tokens": 7}, Options(truncate_to=7)),
        ({"truncate": "END"}, Options(truncate_to=0)),
        ({"truncate": "START", "truncate_prompt_tokens": 7}, Options(truncate_to=7, truncate_side="left")),
        ({"truncation_side": "left", "truncate_prompt_tokens": 7}, Options(truncate_to=7, truncate_side="left")),
        ({"truncation_side": "left", "embed_dtype": "float32", "endianness": "native"}, Options()),
        ({"prompt_name": "query"}, Options(prompt_name="query")),
    ],
)
def test_what_a_body_says_of_its_texts_reaches_the_encoder(
    running: Running, backend: Encoder, fields: dict[str, Any], options: Options
) -> None:
    backend.encoded.clear()
    assert post(running, "/v1/embeddings", model="embed", input="a", **fields).status_code == 200
    assert backend.encoded[0].options == options


def test_an_error_in_a_text_names_it_as_the_client_sent_it(running: Running) -> None:
    texts = ["x" * (300 - index) for index in range(200)] + ["short!"]
    error = error_of(post(running, "/v1/embeddings", model="embed", input=texts))
    assert (error["message"], error["param"]) == ("input[200]: too long", "input")
    assert error["code"] == "context_length_exceeded"
    error = error_of(post(running, "/v1/rerank", model="embed", query="q!", documents=["a", "b"]))
    assert (error["message"], error["param"]) == ("query: too long", "query")
    error = error_of(post(running, "/v1/rerank", model="embed", query="q", documents=["a", "b!"]))
    assert (error["message"], error["param"]) == ("documents[1]: too long", "documents")


def test_a_failure_of_the_engine_is_openais_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model="embed", input=["fine", "what?"])
    assert caught.value.code == "engine_failed"


@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("/v1/embeddings", "demo", {"input": "a"}),
        ("/v1/embeddings", "rerank", {"input": "a"}),
        ("/v1/rerank", "classify", {"query": "a", "documents": ["b"]}),
        ("/v1/score", "demo", {"text_1": "a", "text_2": "b"}),
        ("/v1/classify", "embed", {"input": "a"}),
        ("/v1/completions", "embed", {"prompt": "a"}),
        ("/v1/chat/completions", "rerank", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_an_endpoint_that_a_model_is_not_for_says_so(
    running: Running, path: str, model: str, body: dict[str, Any]
) -> None:
    response = post(running, path, model=model, **body)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, "model", "model_not_supported")
    assert model in error["message"]


def test_documents_are_ranked_by_their_scores(running: Running) -> None:
    documents = ["bb", {"text": "cccc"}, "bb", "a"]
    body = post(running, "/v1/rerank", model="rerank", query="q", documents=documents, top_n=3).json()
    assert [(each["index"], each["document"]["text"]) for each in body["results"]] == [
        (1, "cccc"),
        (0, "bb"),
        (2, "bb"),
    ]
    assert [round(each["relevance_score"], 6) for each in body["results"]] == [0.4, 0.2, 0.2]
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    for path in ("/rerank", "/v2/rerank"):
        short = post(running, path, model="rerank", query="q", documents=["a"], return_documents=False).json()
        assert [set(each) for each in short["results"]] == [{"index", "relevance_score"}]


def test_with_embeddings_the_score_is_the_cosine(running: Running) -> None:
    body = post(running, "/v1/score", model="embed", text_1="abc", text_2=["abc", "a" * 100]).json()
    expected = [1.0, (3 * 100 + 1) / (10**0.5 * 10001**0.5)]
    assert [each["score"] for each in body["data"]] == pytest.approx(expected, abs=1e-6)
    assert [(each["index"], each["object"]) for each in body["data"]] == [(0, "score"), (1, "score")]


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_scores_are_of_pairs_by_any_of_vllms_names(running: Running, backend: Encoder, names: tuple[str, str]) -> None:
    backend.encoded.clear()
    response = post(running, "/v1/score", model="rerank", **dict(zip(names, (["a", "b"], ["cc", "d"]), strict=True)))
    assert [round(each["score"], 6) for each in response.json()["data"]] == [0.2, 0.1]
    assert (backend.encoded[0].firsts, backend.encoded[0].seconds) == ([b"a", b"b"], [b"cc", b"d"])
    assert "x-ignored-parameters" not in response.headers


def test_sides_of_other_lengths_than_one_or_the_same_are_rejected(running: Running) -> None:
    response = post(running, "/score", model="rerank", text_1=["a", "b"], text_2=["a", "b", "c"])
    assert (response.status_code, error_of(response)["param"]) == (400, "text_1")


def test_a_class_has_its_label_and_its_probabilities(running: Running, backend: Encoder) -> None:
    backend.encoded.clear()
    body = post(running, "/v1/classify", model="classify", input=["abc"], use_activation=False).json()
    assert body["data"] == [{"index": 0, "label": "long", "probs": [3.0, 1.0], "num_classes": 2}]
    assert not backend.encoded[0].options.activation


def test_a_query_that_would_fill_the_server_with_every_document_is_rejected(running: Running) -> None:
    response = post(running, "/v1/rerank", model="rerank", query="q" * 10_000, documents=["d"] * 1000)
    assert response.status_code == 400
    assert "may have 1048576 bytes" in error_of(response)["message"]


def test_what_has_no_effect_is_named_and_what_would_change_the_answer_rejected(running: Running) -> None:
    response = post(running, "/v1/embeddings", model="embed", input="a", input_type="query", user="me")
    assert response.headers["x-ignored-parameters"] == "input_type"
    for value in ("x", ["x"], 5, {"x": 1}):  # of a chat, where it is an object
        response = post(running, "/v1/embeddings", model="embed", input="a", response_format=value)
        assert (response.status_code, response.headers["x-ignored-parameters"]) == (200, "response_format")
    response = post(running, "/v2/rerank", model="rerank", query="q", documents=["d"], max_tokens_per_doc=5)
    assert (response.status_code, error_of(response)["param"]) == (400, "max_tokens_per_doc")
    response = post(running, "/v1/embeddings", model="embed", input="a", encoding_format="base64", embed_dtype="int8")
    assert (response.status_code, error_of(response)["param"]) == (400, "embed_dtype")


def test_a_client_may_prefer_an_error_to_a_field_without_effect(running: Running) -> None:
    body, strict = {"model": "embed", "input": "a"}, {"prefer": "handling=strict"}
    answer = httpx.post(running.url + "/v1/embeddings", json=body, headers=strict)
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "handling=strict")
    answer = httpx.post(running.url + "/v1/embeddings", json={**body, "input_type": "query"}, headers=strict)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "input_type")


def test_a_client_that_leaves_ends_the_work_on_its_texts(running: Running, backend: Encoder) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{running.url}/v1/embeddings", json={"model": "embed", "input": ["…"] * 3}, timeout=1)
    for _ in range(WAIT_S * 10):
        if backend.num_cancelled:
            break
        httpx.get(f"{running.url}/health/live")
    assert backend.num_cancelled
    assert "conch_requests_in_flight 0.0" in httpx.get(f"{running.url}/metrics").text


def test_a_request_that_takes_too_long_is_stopped(backend: Encoder) -> None:
    with serving(backend, request_timeout_s=0.2) as short:
        response = post(short, "/v1/embeddings", model="embed", input="…")
    assert (response.status_code, error_of(response)["code"]) == (504, "request_timeout")


def test_the_requests_and_their_tokens_are_counted(running: Running) -> None:
    post(running, "/v1/classify", model="classify", input=["a", "b"])
    text = httpx.get(f"{running.url}/metrics").text
    engine = 'arm="",{}model="classify",{}version="1"'
    labels = engine.format('endpoint="/v1/classify",finish_reason="stop",', 'status="2xx",')
    assert f"conch_requests_total{{{labels}}}" in text
    assert f"conch_prompt_tokens_total{{{engine.format('', '')}}}" in text


def test_the_description_has_every_path_with_its_body_and_its_answer(running: Running) -> None:
    api = httpx.get(f"{running.url}/openapi.json").json()
    for path, name in (("embeddings", "Embedding"), ("rerank", "Rerank"), ("score", "Score"), ("classify", "Classify")):
        operation = api["paths"][f"/v1/{path}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert {body, answer} == {f"{name}Body", f"{name}Answer"}
        assert {body, answer} <= set(api["components"]["schemas"])
