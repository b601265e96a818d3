"""From a checked request to an HTTP response, streamed or whole: one path for both endpoints."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from functools import lru_cache
from typing import Any

import orjson
from fastapi import Request, Response

from gateway.answer import Answer
from gateway.backend import Generation
from gateway.body import parse, read_object
from gateway.disconnect import UnlessDisconnected
from gateway.event_stream import EventStream
from gateway.parameters import ignored_parameters, refuse_unsupported, supported_sampling
from gateway.requests import GenerationRequest
from gateway.shape import Body, FinalReason, Head, Piece, Shape
from gateway.sse import Chunks, error_event
from gateway.state import Gateway
from triton_repo.errors import EngineFailed, RequestError
from triton_repo.tensors import ModelCard

logger = logging.getLogger(__name__)


async def respond(request: Request, gateway: Gateway, shape: Shape[Body]) -> Response:
    """Answer one POST. Raises RequestError as long as the status line is not out."""
    with ExitStack() as unless_handed_over:
        record = unless_handed_over.enter_context(gateway.metrics.record(request.scope["path"]))
        fields = await read_object(request, gateway.settings)
        refuse_unsupported(fields)
        body = parse(shape.body, fields)
        card = await gateway.backend.card(body.model)
        record.model = body.model
        prompts = shape.prompts(body, card)
        generations = _generations(body, card, prompts)
        head = Head(f"{shape.id_prefix}{uuid.uuid4().hex}", int(time.time()), body.model, _fingerprint(card))
        ignored = ignored_parameters(fields, shape.body)
        headers = {"x-ignored-parameters": ignored} if ignored else {}
        with body.in_its_own_words():
            answer = record.answer = gateway.in_flight.open(generations, len(prompts), body.stops)
            unless_handed_over.callback(answer.close)
            if not body.stream:
                return await _whole(request, shape, head, answer, headers)
            pieces = answer.pieces()
            # The status line waits for the engine's first word, so that what fails before it has a status of its own.
            async with UnlessDisconnected(request.receive):
                first = await anext(pieces)
        content = events(first, pieces, Chunks(shape, head, len(generations), body.include_usage), answer)
        record.begin_stream()
        return EventStream(content, unless_handed_over.pop_all(), headers, gateway.settings.sse_ping_interval_s)


async def events(
    first: Piece, rest: AsyncGenerator[Piece, None], chunks: Chunks, answer: Answer
) -> AsyncGenerator[bytes, None]:
    """The stream's bytes. It ends exactly once: with [DONE], or with an error event and no [DONE]."""
    try:
        yield chunks.opening() + chunks.piece(first)
        async with aclosing(rest):
            async for piece in rest:
                if data := chunks.piece(piece):
                    yield data
    except RequestError as error:
        yield error_event(error)
    except Exception:  # a process boundary: the status line is out, so the stream itself has to say that it failed
        logger.exception("a stream failed")
        yield error_event(EngineFailed("internal error"))
    else:
        yield chunks.closing(answer.usage)


async def _whole(request: Request, shape: Shape[Any], head: Head, answer: Answer, headers: dict[str, str]) -> Response:
    texts: dict[int, list[str]] = {}
    reasons: dict[int, FinalReason] = {}

    async with UnlessDisconnected(request.receive), aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            texts.setdefault(piece.choice, []).append(piece.text)
            if piece.finish_reason:
                reasons[piece.choice] = piece.finish_reason
    choices = [shape.choice(index, "".join(texts[index]), reasons[index]) for index in sorted(texts)]
    content = orjson.dumps(shape.whole(head, choices, answer.usage))
    return Response(content, headers=headers, media_type="application/json")


def _generations(body: GenerationRequest, card: ModelCard, prompts: list[Any]) -> list[Generation]:
    """One per choice: the choices of the first prompt, then those of the second, …; seeds count up within a prompt."""
    sampling = supported_sampling(body.sampling(), card, body.model)
    samplings = [
        sampling if sampling.seed is None else sampling.model_copy(update={"seed": (sampling.seed + i) % 2**64})
        for i in range(body.n or 1)
    ]
    # Stop strings are found in the text as it comes, so the engine has to stream even for an answer that is sent whole.
    stream = bool(body.stream or body.stops)
    return [Generation(uuid.uuid4().hex, body.model, prompt, each, stream) for prompt in prompts for each in samplings]


@lru_cache
def _fingerprint(card: ModelCard) -> str:
    return "fp_" + hashlib.sha256(card.to_json().encode()).hexdigest()[:10]
