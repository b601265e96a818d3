"""Real encoders through the real stack, beside an engine that chats, against sentence-transformers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import openai
import psutil
import pytest
import tritonclient.grpc
from numpy.typing import NDArray

from tests.conftest import Stack, serving
from tests.serving import encoders

TOLERANCE = 1e-5
BACK_S = 300
RANDOM = random.Random(0)
WORDS = (
    "Paris",
    "is",
    "the",
    "capital",
    "of",
    "France",
    "naïve",
    "日本語",
    "😀",
    "ﬁne",
    "don't",
    "3.14",
    "\u200b",
    "Ω≈ç",
)


def text_of(num_words: int) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(num_words))


TEXTS = [text_of(length) for length in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 100)] * 3 + [
    " ",
    "\n\t",
    "e\u0301 é",
    "a" * 500,
    "اللغة العربية",
    "[CLS] [SEP] [MASK]",
    "<script>alert(1)</script>",
    "\x00\ufeff\ufffd",
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    log = tmp_path_factory.mktemp("encoders") / "serve.log"
    with serving("replay", *encoders.engines(), log=log) as running:
        yield running
    assert "curl" in log.read_text(encoding="utf-8")


@pytest.fixture
def client(stack: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.gateway}/v1", api_key="none", max_retries=0, timeout=240)


def embeddings(client: openai.OpenAI, texts: Any, **options: Any) -> NDArray[np.float64]:
    answer = client.embeddings.create(model="minilm", input=texts, extra_body=options)
    return np.array([each.embedding for each in answer.data])


def expected(texts: Sequence[str]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = encoders.reference("minilm").encode(list(texts))
    return found


def post(stack: Stack, path: str, **body: Any) -> Any:
    response = httpx.post(f"{stack.gateway}{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_embeddings_are_those_of_sentence_transformers(client: openai.OpenAI) -> None:
    assert np.abs(embeddings(client, TEXTS) - expected(TEXTS)).max() < TOLERANCE


def test_a_text_that_is_cut_is_cut_as_sentence_transformers_cuts_it(client: openai.OpenAI) -> None:
    long = ["word " * 300 + "end", "short"]
    with pytest.raises(openai.BadRequestError, match=r"input\[0\]: this model reads at most 256 tokens of a text"):
        embeddings(client, long)
    assert np.abs(embeddings(client, long, truncate_prompt_tokens=-1) - expected(long)).max() < TOLERANCE


def test_token_ids_have_the_embedding_of_their_text(client: openai.OpenAI) -> None:
    texts = TEXTS[:6]
    ids = encoders.reference("minilm").tokenizer(texts)["input_ids"]
    assert np.abs(embeddings(client, ids) - expected(texts)).max() < TOLERANCE
    answer = client.embeddings.create(model="minilm", input=ids)
    assert answer.usage.prompt_tokens == sum(map(len, ids))


def test_many_clients_get_each_its_own(stack: Stack) -> None:
    texts = [text_of(1 + index % 40) for index in range(120)]

    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{stack.gateway}/v1", api_key="none", timeout=240) as client:
            return await asyncio.gather(*(client.embeddings.create(model="minilm", input=text) for text in texts))

    found = np.array([answer.data[0].embedding for answer in asyncio.run(ask())])
    assert np.abs(found - expected(texts)).max() < TOLERANCE


def test_documents_are_scored_as_by_the_cross_encoder(stack: Stack) -> None:
    query, documents = "capital of France", [text_of(length) for length in (1, 4, 9, 20)]
    scores = encoders.reference("pairs").predict([(query, document) for document in documents])
    body = post(stack, "/v1/rerank", model="pairs", query=query, documents=documents)
    found = {each["index"]: each["relevance_score"] for each in body["results"]}
    assert [found[index] for index in range(len(documents))] == pytest.approx(scores, abs=TOLERANCE)
    assert [*found] == sorted(found, key=found.__getitem__, reverse=True)
    raw = encoders.reference("pairs").predict([(query, documents[0])], activation_fn=_identity)
    body = post(stack, "/v1/score", model="pairs", text_1=query, text_2=documents[0], use_activation=False)
    assert body["data"][0]["score"] == pytest.approx(raw[0], abs=TOLERANCE)


def test_a_pair_that_is_too_long_is_rejected_or_cut_as_by_the_cross_encoder(stack: Stack) -> None:
    pair = ("capital of France", "word " * 100)
    body = {"model": "pairs", "text_1": pair[0], "text_2": pair[1]}
    response = httpx.post(f"{stack.gateway}/v1/score", json=body)
    assert response.json()["error"]["message"].startswith("text_2[0]: this model reads at most 64 tokens")
    found = post(stack, "/v1/score", **body, truncate_prompt_tokens=-1)["data"][0]["score"]
    assert found == pytest.approx(encoders.reference("pairs").predict([pair])[0], abs=TOLERANCE)


def test_with_an_embedding_model_documents_are_ranked_by_their_meaning(stack: Stack) -> None:
    documents = ["Bananas are yellow.", "Paris is the capital of France.", "I lost my keys."]
    query = "Which city is the seat of the French government?"
    body = post(stack, "/v1/rerank", model="minilm", query=query, documents=documents)
    assert body["results"][0]["index"] == 1
    vectors = expected([query, *documents])
    assert body["results"][0]["relevance_score"] == pytest.approx(vectors[0] @ vectors[2], abs=TOLERANCE)


def test_a_text_gets_the_class_and_the_probabilities_of_the_classifier(stack: Stack) -> None:
    texts = [text_of(length) for length in (2, 7, 12)]
    logits = encoders.logits("classes", texts)
    powers = np.exp(logits)
    body = post(stack, "/v1/classify", model="classes", input=texts)
    found = np.array([each["probs"] for each in body["data"]])
    assert np.abs(found - powers / powers.sum(axis=1, keepdims=True)).max() < TOLERANCE
    assert [each["label"] for each in body["data"]] == [encoders.LABELS[row.argmax()] for row in logits]


def test_an_answer_that_is_kept_is_that_of_the_same_texts_and_options(stack: Stack) -> None:
    def ask(**options: Any) -> Any:
        return post(stack, "/v1/classify", model="classes", input="what is kept " * 3, **options)["data"]

    first, again = ask(), ask()
    assert first == again
    assert ask(use_activation=False) != first
    assert ask(truncate_prompt_tokens=4) != first
    assert stack.engine_metric("nv_cache_num_hits_per_model", model="classes") >= 1


def test_models_say_what_they_are_for_and_the_first_one_chats(stack: Stack) -> None:
    listed = httpx.get(f"{stack.gateway}/v1/models").json()["data"]
    kinds = {model["id"]: model["kind"] for model in listed}
    assert kinds == {"replay": "generate", "minilm": "embed", "pairs": "rerank", "classes": "classify"}
    assert listed[0]["id"] == "replay"


def test_an_engine_that_chats_beside_them_still_does(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="replay", prompt="x", max_tokens=3)
    assert answer.choices[0].text


def test_a_client_of_triton_gets_the_same_numbers(stack: Stack) -> None:
    triton = tritonclient.grpc.InferenceServerClient(stack.triton_grpc)
    tensor = tritonclient.grpc.InferInput("text_input", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"hello"], [b"a longer text"]], dtype=np.object_))
    answer = triton.infer("minilm", [tensor])
    assert np.abs(answer.as_numpy("values") - expected(["hello", "a longer text"])).max() < TOLERANCE
    assert answer.as_numpy("num_tokens").tolist() == [[3], [5]]


def test_a_killed_encoder_comes_back(stack: Stack) -> None:
    """Last: meanwhile requests get 503."""
    for process in psutil.Process(stack.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is one
            if any(word.endswith("/classes/1/model.py") for word in process.cmdline()):
                process.kill()
    deadline_s = time.monotonic() + BACK_S
    while True:
        body = {"model": "classes", "input": f"a text that is not kept {time.monotonic()}"}
        response = httpx.post(f"{stack.gateway}/v1/classify", json=body)
        if response.status_code == 200:
            return
        assert response.status_code in {404, 503}, response.text
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def _identity(numbers: Any) -> Any:
    return numbers
