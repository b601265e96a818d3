"""The one error tree.

    ConchError
    ├── RequestError              something is wrong with one request
    │   ├── InvalidRequest        400  a value that the client sent is not allowed
    │   │   ├── UnsupportedParameter   the engine cannot do what the parameter asks
    │   │   ├── ContextLengthExceeded  prompt, or prompt + max_tokens, beyond max_seq_len
    │   │   └── ModelOfAnotherKind     a chat with a model that makes embeddings, say
    │   ├── AuthenticationFailed  401
    │   ├── ModelNotFound         404
    │   ├── RequestTimedOut       504  not complete within the time that a request may take
    │   ├── SendAlone             500  a row that takes longer than those beside it should wait: to be sent by itself
    │   ├── EngineUnavailable     503  loading, restarting, draining or full: worth a retry
    │   └── EngineFailed          500  this request failed inside the engine
    ├── SpecError                 an engine spec or a build flag is not allowed
    ├── BuildError                a build step failed; the old engine is intact
    ├── LaunchError               a server process cannot start or stay up
    └── BenchError                a measurement cannot be made

A RequestError crosses Triton as text, because an error response of Triton carries nothing else: `to_wire`
appends the class and the parameter to the message, `from_wire` reads them back and drops what Triton put
around them.
"""

from __future__ import annotations

import re
from typing import ClassVar


class ConchError(Exception):
    """Root of every error that Conch raises on purpose; its text is one sentence for the user."""


class RequestError(ConchError):
    """One request fails, the others continue.

    Attributes:
        param: name of the request's parameter that is wrong, or None.
        status: HTTP status.
        type: OpenAI's `error.type`.
        code: OpenAI's `error.code`, or None.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """Its code, or its type where it has none, for counts and traces: each is a constant of a class."""
        return self.code or self.type


class InvalidRequest(RequestError):
    status = 400
    type = "invalid_request_error"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class ModelOfAnotherKind(InvalidRequest):
    code = "model_not_supported"


class AuthenticationFailed(RequestError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class ModelNotFound(RequestError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class EngineUnavailable(RequestError):
    """`retry_after_s`: when to try again; OpenAI's clients wait that long, as a full engine needs for a slot."""

    retry_after_s: int = 2
    status = 503
    type = "service_unavailable_error"
    code = "engine_unavailable"


class RequestTimedOut(RequestError):
    status = 504
    code = "request_timeout"


class SendAlone(RequestError):
    """For the gateway, which sends the row again; no client sees it."""


class EngineFailed(RequestError):
    status = 500
    type = "server_error"
    code = "engine_failed"


class SpecError(ConchError):
    """An engine spec or a build flag is not allowed; names the file or flag, the key, the value and the rule."""


class BuildError(ConchError):
    """A build step failed. Nothing was replaced."""


class LaunchError(ConchError):
    """A server process cannot start or stay up."""


class BenchError(ConchError):
    """A measurement cannot be made: an option is not allowed, or nothing answers."""


_WIRE_CLASSES: dict[str, type[RequestError]] = {
    cls.__name__: cls
    for cls in (InvalidRequest, UnsupportedParameter, ContextLengthExceeded, SendAlone, EngineUnavailable, EngineFailed)
}
_WIRE = re.compile(r"(?:in ensemble '[^']*', )?(?P<message>.*) \[conch:(?P<cls>\w+):(?P<param>\w*)\]\s*$", re.DOTALL)


def to_wire(error: RequestError) -> str:
    """The error as the text of a Triton error response; half a surrogate pair, invalid in UTF-8, becomes "?"."""
    return f"{error.message} [conch:{type(error).__name__}:{error.param or ''}]".encode(errors="replace").decode()


def from_wire(text: str) -> RequestError | None:
    """The error that `to_wire` wrote, or None for a text of Triton itself."""
    match = _WIRE.match(text)
    if match is None or match["cls"] not in _WIRE_CLASSES:
        return None
    return _WIRE_CLASSES[match["cls"]](match["message"], match["param"] or None)
