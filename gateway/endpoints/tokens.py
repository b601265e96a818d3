"""Paths that tokenize and do not generate: /tokenize, /detokenize, the prompts of other paths rendered, token counts.

No engine is asked: the preprocessing in front of it answers, within the bounds that it has for prompts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from gateway.answers.backend import Backend, PromptText
from gateway.answers.request import told
from gateway.dialects.anthropic.conversation import chat_of
from gateway.dialects.anthropic.envelope import ANTHROPIC
from gateway.dialects.anthropic.messages import reject_thread
from gateway.dialects.anthropic.request import CountTokensRequest
from gateway.dialects.anthropic.tools import offered_tools
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Dialect, Operation
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.requests.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    RenderedPrompt,
    TokenizeRequest,
    TokenizeResponse,
)
from gateway.endpoints.finding import found, with_model
from gateway.endpoints.routes import OPERATIONS
from gateway.http.auth import caller_of
from gateway.http.body import read_object
from gateway.http.cancellation import UnlessDisconnected
from gateway.http.errors import described
from gateway.http.request_id import REQUEST_ID
from gateway.state import Gateway, GatewayDep
from triton_repo.contract.errors import EngineUnavailable, InvalidRequest, RequestError
from triton_repo.contract.model_card import ModelCard

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"


class Engine(NamedTuple):
    """The engine whose tokenizer a request is for; the client has `named` it so."""

    backend: Backend
    model: str
    named: str
    card: ModelCard
    request_id: str


class TokenCount(TypedDict):
    input_tokens: int


class TokenPath(NamedTuple):
    """One path: the model of its bodies, that of its answers, and what answers."""

    dialect: Dialect
    body: type[BaseModel]
    answer_model: Any
    answer: Callable[[Json, Engine], Awaitable[Any]]


async def tokenize(fields: Json, engine: Engine) -> TokenizeResponse:
    """The tokens of a prompt or a conversation, however many they are."""
    body = parse_body(TokenizeRequest, fields)
    if body.messages is None:
        prompt: Any = PromptText(body.prompt or "", body.add_special_tokens)
    else:
        chat = {name: value for name, value in fields.items() if name != "return_token_strs"}
        [prompt] = OPERATIONS["/v1/chat/completions"].parse({**chat, "model": engine.named}).request.prompts
    if body.return_token_strs:
        texts = await engine.backend.token_texts(engine.model, prompt)
        ids, pieces = [*texts.ids], [*texts.pieces]
    else:
        ids, pieces = [*await engine.backend.tokenize(engine.model, prompt)], None
    return {"count": len(ids), "max_model_len": engine.card.max_seq_len, "tokens": ids, "token_strs": pieces}


async def detokenize(fields: Json, engine: Engine) -> DetokenizeResponse:
    """The text of tokens."""
    body = parse_body(DetokenizeRequest, fields)
    try:
        texts = await engine.backend.token_texts(engine.model, body.tokens)
    except InvalidRequest as error:
        raise type(error)(error.message, "tokens") from None
    return {"prompt": texts.text}


async def render(operation: Operation, fields: Json, engine: Engine) -> list[RenderedPrompt]:
    """The prompts of a request to a path that generates, in its own body."""
    call = operation.parse(fields)
    request = call.request
    sampling = request.sampling.model_dump(exclude_none=True)
    params = {"n": request.num_choices, **({"stop": request.stops} if request.stops else {}), **sampling}
    try:
        texts = [await engine.backend.token_texts(engine.model, prompt) for prompt in request.prompts]
    except RequestError as error:
        raise call.named_as_sent(error) from None
    return [
        {
            "request_id": f"{engine.request_id}-{index}",
            "model": engine.named,
            "token_ids": [*one.ids],
            "text": one.text,
            "features": None,
            "sampling_params": params,
            "stream": request.stream,
            "cache_salt": request.sampling.cache_salt,
        }
        for index, one in enumerate(texts)
    ]


async def render_one(operation: Operation, fields: Json, engine: Engine) -> RenderedPrompt:
    """The prompt of a request to a path that generates, in its own body."""
    [rendered] = await render(operation, fields, engine)
    return rendered


async def count_tokens(fields: Json, engine: Engine) -> TokenCount:
    """How many tokens the prompt of a message has."""
    reject_thread(fields)
    body = parse_body(CountTokensRequest, fields)
    listed, _ = offered_tools(body.tools, body.tool_choice)
    prompt = told(chat_of(body, listed), engine.card, body.effort, engine.model)
    return {"input_tokens": len(await engine.backend.tokenize(engine.model, prompt))}


def _rendered(path: str) -> TokenPath:
    operation = OPERATIONS[path]
    return TokenPath(operation.dialect, operation.body, RenderedPrompt, partial(render_one, operation))


_COMPLETIONS: Final = OPERATIONS["/v1/completions"]
_TOKENIZE: Final = TokenPath(OPENAI, TokenizeRequest, TokenizeResponse, tokenize)
_DETOKENIZE: Final = TokenPath(OPENAI, DetokenizeRequest, DetokenizeResponse, detokenize)
TOKEN_PATHS: Final[Mapping[str, TokenPath]] = {
    "/tokenize": _TOKENIZE,
    "/v1/tokenize": _TOKENIZE,
    "/detokenize": _DETOKENIZE,
    "/v1/detokenize": _DETOKENIZE,
    "/v1/chat/completions/render": _rendered("/v1/chat/completions"),
    "/v1/completions/render": TokenPath(OPENAI, _COMPLETIONS.body, list[RenderedPrompt], partial(render, _COMPLETIONS)),
    "/v1/messages/render": _rendered("/v1/messages"),
    "/v1/messages/count_tokens": TokenPath(ANTHROPIC, CountTokensRequest, TokenCount, count_tokens),
}


def add_tokens(app: FastAPI) -> None:
    for path, one in TOKEN_PATHS.items():
        body = {"schema": {"$ref": _REF.format(model=one.body.__name__)}}
        app.add_api_route(
            path,
            _endpoint(one),
            methods=["POST"],
            tags=["tokens"],
            operation_id=path.strip("/").replace("/", "_"),
            description=getattr(one.answer, "func", one.answer).__doc__,
            responses={200: {"model": one.answer_model}, **described(one.dialect.error_model)},
            openapi_extra={"requestBody": {"required": True, "content": {"application/json": body}}},
        )


def _endpoint(path: TokenPath) -> Callable[..., Awaitable[Response]]:
    async def endpoint(request: Request, gateway: GatewayDep) -> Response:
        try:
            return await _answer(path, request, gateway)
        except ClientDisconnect:  # there is no client left to answer
            return Response()

    return endpoint


async def _answer(path: TokenPath, request: Request, gateway: Gateway) -> Response:
    """A request counts in the quota of its caller; its tokens do not."""
    scope, settings = request.scope, gateway.settings
    caller = caller_of(scope)
    quota = gateway.quotas.of(caller.name, caller.limits)
    quota.take_request()
    with quota:
        if gateway.in_flight.draining:
            raise EngineUnavailable("the server is shutting down")
        fields = await read_object(
            scope, request.receive, settings.max_body_bytes, settings.body_timeout_s, gateway.bodies
        )
        fields = await with_model(gateway, fields, caller)
        model = fields["model"]
        if not isinstance(model, str):
            raise InvalidRequest("model: must be a name", "model")
        resolution, card = await found(gateway, model, fields, caller, scope[REQUEST_ID])
        engine = Engine(gateway.backend, resolution.engine, model, card, scope[REQUEST_ID])
        async with UnlessDisconnected(request.receive):
            answer = await path.answer(fields, engine)
    return Response(orjson.dumps(answer), media_type="application/json")
