"""Prompts tokenized without their engine, on the real stack."""

from __future__ import annotations

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
