"""From a checked request to an HTTP response, streamed or whole: one path for both endpoints."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing, closing
from functools import lru_cache
from secrets import token_hex
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.answers.answer import Answer
from gateway.answers.backend import Generation, Prompt, prompt_bytes
from gateway.dialects.openai.logprobs import Token, refuse_too_many
from gateway.dialects.openai.parameters import ignored_parameters, refuse_unsupported, supported_sampling
from gateway.dialects.openai.requests import GenerationRequest
from gateway.dialects.openai.shape import Body, FinalReason, Head, Shape
from gateway.dialects.openai.sse import Chunks, error_event
from gateway.http.body import parse, read_object
from gateway.http.disconnect import UnlessDisconnected
from gateway.http.event_stream import EventStream
from gateway.metrics import RequestRecord
from gateway.state import Gateway
from triton_repo.contract.errors import EngineFailed, InvalidRequest, RequestError
from triton_repo.contract.tensors import ModelCard

logger = logging.getLogger(__name__)


async def respond(scope: Scope, receive: Receive, send: Send, gateway: Gateway, shape: Shape[Body]) -> None:
    """Answer one POST.

    Raises:
        RequestError: it failed, and the status line is not out.
        ClientDisconnect: nobody is there any more.
    """
    with gateway.metrics.record(scope["path"]) as record:
        body, ignored = await _read(scope, receive, gateway, shape)
        card = await gateway.backend.card(body.model)
        record.model = body.model
        prompts = shape.prompts(body, card)
        id = token_hex(16)
        with body.in_its_own_words():
            generations = _generations(id, body, card, prompts, gateway.settings.max_body_bytes)
        head = Head(shape.id_prefix + id, int(time.time()), body.model, _fingerprint(card))
        headers = {"x-ignored-parameters": ignored} if ignored else {}
        with body.in_its_own_words(), closing(gateway.in_flight.open(generations, len(prompts), body.stops)) as answer:
            record.answer = answer
            async with UnlessDisconnected(receive):
                if body.stream:
                    stream = EventStream(send, headers, gateway.heartbeat)
                    chunks = Chunks(shape, head, len(generations), body.include_usage)
                    return await _stream(stream, chunks, answer, record)
                content = await _whole(shape, head, answer)
    response = Response(content, headers=headers, media_type="application/json")
    return await response(scope, receive, send)


async def _read(scope: Scope, receive: Receive, gateway: Gateway, shape: Shape[Body]) -> tuple[Body, str]:
    """What the client asks for, and the names of what it says in vain, which can take far more memory."""
    fields = await read_object(scope, receive, gateway.settings.max_body_bytes, gateway.body_deadline)
    refuse_unsupported(fields)
    return parse(shape.body, fields), ignored_parameters(fields, shape.body)


async def _stream(stream: EventStream, chunks: Chunks, answer: Answer, record: RequestRecord) -> None:
    """A stream that has begun ends exactly once: with [DONE], or with an error event and no [DONE]."""
    async with aclosing(answer.pieces()) as pieces:
        # The status line waits for the engine's first word, so that what fails before it has a status of its own.
        first = await anext(pieces)
        record.begin_stream()
        async with stream:
            try:
                await stream.send(chunks.opening() + chunks.piece(first))
                async for piece in pieces:
                    await stream.send(chunks.piece(piece))
                last = chunks.closing(answer.usage)
            except RequestError as error:
                last = error_event(error)
            except Exception:  # a process boundary: the status is out, so the stream itself has to say that it failed
                logger.exception("a stream failed")
                last = error_event(EngineFailed("internal error"))
            await stream.end(last)


async def _whole(shape: Shape[Any], head: Head, answer: Answer) -> bytes:
    texts: dict[int, list[str]] = {}
    tokens: dict[int, list[Token]] = {}
    reasons: dict[int, FinalReason] = {}

    async with aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            texts.setdefault(piece.choice, []).append(piece.text)
            if piece.tokens is not None:
                tokens.setdefault(piece.choice, []).extend(piece.tokens)
            if piece.finish_reason:
                reasons[piece.choice] = piece.finish_reason
    choices = [shape.choice(index, "".join(texts[index]), reasons[index], tokens.get(index)) for index in sorted(texts)]
    return orjson.dumps(shape.whole(head, choices, answer.usage))


def _generations(
    id: str, body: GenerationRequest, card: ModelCard, prompts: list[Prompt], max_bytes: int
) -> list[Generation]:
    """One per choice: the choices of the first prompt, then those of the second, …; seeds count up within a prompt.

    Their request ids are the answer's `id` and the index of the choice.
    """
    _refuse_long_copies(prompts, body.n or 1, max_bytes)
    sampling = supported_sampling(body.sampling(), card, body.model)
    refuse_too_many(sampling, len(prompts) * (body.n or 1), card.max_seq_len)
    samplings = [
        sampling if sampling.seed is None else sampling.model_copy(update={"seed": (sampling.seed + i) % 2**64})
        for i in range(body.n or 1)
    ]
    # Stop strings are found in the text as it comes, so the engine has to stream even for an answer that is sent whole;
    # and the logprobs of a long answer are work that must not hold up the deltas of others.
    stream = bool(body.stream or body.stops or sampling.logprobs is not None)
    choices = enumerate((prompt, sampling) for prompt in prompts for sampling in samplings)
    return [Generation(f"{id}-{index}", body.model, prompt, each, stream) for index, (prompt, each) in choices]


def _refuse_long_copies(prompts: Sequence[Prompt], n: int, max_bytes: int) -> None:
    """Every choice takes its prompt along to the engine: a small body could be gigabytes on the way that all share."""
    if n == 1:
        return
    num_bytes = n * sum(map(prompt_bytes, prompts))
    if num_bytes > max_bytes:
        rule = f"the prompts of all answers together may have {max_bytes} bytes, these would have {num_bytes}"
        raise InvalidRequest(f"n = {n}: {rule}", "n")


@lru_cache
def _fingerprint(card: ModelCard) -> str:
    return "fp_" + hashlib.sha256(card.to_json().encode()).hexdigest()[:10]
