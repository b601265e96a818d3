"""POST /v1/chat/completions and /v1/completions as an ASGI application of its own.

FastAPI describes the two routes, but what it puts around an endpoint costs more than to answer a short stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import State
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway.dialects.openai.chat import ChatShape
from gateway.dialects.openai.completions import CompletionShape
from gateway.dialects.openai.shape import Shape
from gateway.endpoints.respond import respond
from gateway.http.errors import error_response
from triton_repo.contract.errors import RequestError

SHAPES: Final[Mapping[str, Shape[Any]]] = {
    "/v1/chat/completions": ChatShape(),
    "/v1/completions": CompletionShape(),
}


def is_generation(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] in SHAPES and scope["method"] == "POST"


class GenerationRoutes:
    """Answers what `is_generation`; `state.gateway` is what it answers from."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await respond(scope, receive, send, self._state.gateway, SHAPES[scope["path"]])
        except RequestError as error:
            await error_response(error)(scope, receive, send)
        except ClientDisconnect:
            pass  # there is nobody left to be told
