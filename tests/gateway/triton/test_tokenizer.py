"""Prompts that are tokenized without an engine, against a gRPC server that answers as a test wrote down."""

from __future__ import annotations

import struct

import pytest

from gateway.answers.backend import Chat, PromptIds, PromptText, TokenTexts
from tests.gateway.scripted_backend import CARD
from tests.gateway.scripted_triton import ScriptedTriton, connected, packed, tokens
from triton_repo.contract.errors import EngineFailed, InvalidRequest, ModelNotFound, RequestError, to_wire

IDS = ("input_ids", "INT32", [1, 3], struct.pack("<3i", 5, 6, 7))
TEXTS = ("token_texts", "BYTES", [1, 1], packed('{"text": "a b", "pieces": ["a", " ", "b"]}'))


@pytest.mark.asyncio
async def test_only_the_preprocessing_is_asked() -> None:
    triton = ScriptedTriton()
    triton.tokens = tokens(IDS)
    async with connected(triton) as backend:
        assert list(await backend.tokenize("demo", PromptText("a b", add_special_tokens=False))) == [5, 6, 7]
    [request] = triton.asked
    assert (request.model_name, [each.name for each in request.outputs]) == ("demo_preprocess", ["input_ids"])
    assert [tensor.name for tensor in request.inputs] == ["text_input"]
    assert list(request.raw_input_contents) == [packed("a b")]
    assert request.parameters["tokenize"].string_param == "ids"
    assert request.parameters["add_special_tokens"].bool_param is False


@pytest.mark.asyncio
async def test_texts_come_with_the_ids_where_they_are_wanted() -> None:
    triton = ScriptedTriton()
    triton.tokens = tokens(TEXTS, IDS)
    async with connected(triton) as backend:
        ids, text, pieces = _parts(await backend.token_texts("demo", Chat(b"{}")))
    assert (ids, text, pieces) == ([5, 6, 7], "a b", ["a", " ", "b"])
    [request] = triton.asked
    assert request.parameters["tokenize"].string_param == "texts"


@pytest.mark.asyncio
async def test_no_ids_have_no_text_and_an_empty_prompt_no_ids() -> None:
    triton = ScriptedTriton()
    triton.tokens = tokens(("input_ids", "INT32", [1, 1], struct.pack("<i", -1)))
    async with connected(triton) as backend:
        assert _parts(await backend.token_texts("demo", PromptIds.of([]))) == ([], "", [])
        assert triton.asked == []
        assert list(await backend.tokenize("demo", PromptText(""))) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (to_wire(InvalidRequest("messages: rejected", "messages")), InvalidRequest, "^messages: rejected$"),
        ("Request for unknown model: 'demo_preprocess' is not found", ModelNotFound, "^model 'demo' does not exist"),
        ("Failed to open shm region triton_python_backend_shm_region_1", EngineFailed, "^the engine failed$"),
    ],
)
async def test_what_the_preprocessing_rejects_is_the_requests_error(
    said: str, kind: type[RequestError], message: str
) -> None:
    triton = ScriptedTriton(configs={"demo": CARD.to_json()})
    triton.refuses_prompts = said
    async with connected(triton) as backend:
        with pytest.raises(kind, match=message):
            await backend.tokenize("demo", PromptText("a"))


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [tokens(), tokens(IDS, (*TEXTS[:3], packed("{}"))), tokens((*IDS[:3], b"abc"))])
async def test_an_answer_that_is_none_is_the_engines_failure(answer: object) -> None:
    triton = ScriptedTriton()
    triton.tokens = answer
    async with connected(triton) as backend:
        with pytest.raises(EngineFailed, match=r"^the engine failed$"):
            await backend.token_texts("demo", PromptText("a"))


def _parts(tokens: TokenTexts) -> tuple[list[int], str, list[str]]:
    return list(tokens.ids), tokens.text, list(tokens.pieces)
