"""The paths that answer by generating, as an ASGI application in front of the others.

FastAPI puts layers around an endpoint that cost more than to answer a short stream, so it only describes these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.datastructures import State
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dialects.dialect import Dialect, Operation
from gateway.dialects.openai.chat import ChatCompletions
from gateway.dialects.openai.completions import Completions
from gateway.dialects.openai.envelope import OpenAi
from gateway.endpoints.generate import generate
from gateway.http.errors import ErrorResponses, method_not_allowed
from triton_repo.contract.errors import RequestError

OPERATIONS: Final[Mapping[str, Operation]] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
}
_OPENAI: Final = OpenAi()


def dialect_of(_path: str) -> Dialect:
    """The API to which a path belongs: it decides what an error looks like and how a key is presented."""
    return _OPENAI


class Generate:
    """Answers requests for one of `OPERATIONS`, and hands all others on to `rest`."""

    def __init__(self, rest: ASGIApp, state: State, errors: ErrorResponses) -> None:
        self._rest = rest
        self._state = state
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = OPERATIONS.get(scope["path"]) if scope["type"] == "http" else None
        if operation is None:
            await self._rest(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                raise method_not_allowed(scope, "POST")
            await generate(scope, receive, send, self._state.gateway, operation)
        except RequestError as error:
            await self._errors.response(scope, error)(scope, receive, send)
        except ClientDisconnect:
            pass  # there is no client left to answer
