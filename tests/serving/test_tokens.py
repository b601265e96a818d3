"""Prompts tokenized without their engine, on the real stack."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import orjson
import pytest

from gateway.answers.backend import Chat, PromptIds, PromptText
from gateway.triton.backend import TritonBackend
from tests.conftest import KSERVE_KEY, Stack
from tests.serving import demo_model
from triton_repo.contract.errors import ContextLengthExceeded, InvalidRequest, ModelNotFound

QUESTION = [{"role": "user", "content": "What is Conch? 👋"}]
PROMPT = "<|im_start|>user\nWhat is Conch? 👋<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.asyncio
async def test_ids_and_texts_are_those_of_the_checkpoints_own_tokenizer(stack: Stack) -> None:
    backend = TritonBackend(stack.triton_grpc, KSERVE_KEY)
    try:
        ids = demo_model.prompt_ids(QUESTION)
        chat = Chat(orjson.dumps({"messages": QUESTION}))
        assert list(await backend.tokenize("demo", chat)) == ids
        assert list(await backend.tokenize("demo", PromptText(PROMPT))) == ids
        for prompt in (chat, PromptIds.of(ids)):
            texts = await backend.token_texts("demo", prompt)
            assert (list(texts.ids), texts.text) == (ids, PROMPT)
            assert texts.pieces[0] == "<|im_start|>"
        long = "word " * 50_000
        with pytest.raises(ContextLengthExceeded):
            await backend.tokenize("demo", PromptText(long * 10))
        assert len(await backend.tokenize("demo", PromptText(long[:15_000]))) > 2048
        with pytest.raises(InvalidRequest, match="the vocabulary has no token 999999"):
            await backend.token_texts("demo", PromptIds.of([1, 999_999]))
        assert len((await backend.token_texts("demo", PromptIds.of([5] * 2**20))).pieces) == 2**20
        with pytest.raises(ModelNotFound):
            await backend.tokenize("other", PromptText("a"))
    finally:
        await backend.close()


def test_the_paths_answer_what_the_checkpoints_own_tokenizer_says(stack: Stack) -> None:
    ids = demo_model.prompt_ids(QUESTION)
    with httpx.Client(base_url=stack.gateway) as client:
        chat = {"model": "demo", "messages": QUESTION}
        tokens = client.post("/tokenize", json={**chat, "return_token_strs": True}).json()
        assert (tokens["tokens"], tokens["count"], tokens["max_model_len"]) == (ids, len(ids), 2048)
        assert client.post("/detokenize", json={"model": "demo", "tokens": ids}).json() == {"prompt": PROMPT}
        rendered = client.post("/v1/chat/completions/render", json=chat).json()
        assert (rendered["token_ids"], rendered["text"]) == (ids, PROMPT)
        [completion] = client.post("/v1/completions/render", json={"model": "demo", "prompt": PROMPT}).json()
        assert completion["token_ids"] == ids
        count = client.post("/v1/messages/count_tokens", json=chat).json()
        assert count == {"input_tokens": len(ids)}
        lost = client.post("/detokenize", json={"model": "demo", "tokens": [999_999]})
        assert (lost.status_code, lost.json()["error"]["param"]) == (400, "tokens")


def test_anthropics_client_streams_the_demos_answer_and_an_agent_is_told_that_its_prompt_is_too_long(
    stack: Stack,
) -> None:
    question: list[Any] = [{"role": "user", "content": "What is Conch?"}]
    with anthropic.Anthropic(base_url=stack.gateway, api_key="none", max_retries=0) as client:
        asked: Any = {"model": "demo", "max_tokens": 20_000, "messages": question, "extra_body": {"temperature": 0}}
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
            streamed = stream.get_final_message()
        ids = demo_model.prompt_ids(question)
        assert text == demo_model.decode(demo_model.greedy_ids(ids))
        assert [block.to_dict() for block in whole.content] == [{"type": "text", "text": text}]
        assert (whole.stop_reason, whole.usage.input_tokens) == ("end_turn", len(ids))
        assert streamed.usage == whole.usage
        stopped = client.messages.create(**{**asked, "stop_sequences": [text[20:26]]})
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", text[20:26])
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
            client.messages.create(**{**asked, "messages": [{"role": "user", "content": "long " * 3000}]})
        endless = client.messages.create(**{**asked, "extra_body": {"ignore_eos": True}})
        assert endless.stop_reason == "model_context_window_exceeded"
