"""What an API that clients speak consists of. Each has a folder here, and its paths in `endpoints.routes`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from gateway.answers.backend import Prompt
from gateway.answers.events import Event, Usage, WholeAnswer
from gateway.answers.request import AnswerRequest
from gateway.catalog.resolution import Resolution
from gateway.store.responses import ResponseStore
from triton_repo.contract.errors import RequestError
from triton_repo.contract.model_card import ModelCard


def _no_usage() -> Usage:
    return Usage(0, 0)


class Head(NamedTuple):
    """The fields of an answer that are known before its first token, and what tells its counts so far."""

    id: str  # the request's; a dialect adds its own prefix
    created: int  # unix seconds
    model: str
    fingerprint: str  # the same as long as the same build answers
    usage: Callable[[], Usage] = _no_usage


class Encoder(Protocol):
    """Writes one answer, as server-sent events or whole."""

    def start(self) -> bytes:
        """The events before all others, which may be none; so may those of the other methods."""

    def event(self, event: Event, /) -> bytes: ...

    def finish(self) -> bytes:
        """The events after a complete answer."""

    def fail(self, error: RequestError, /) -> bytes:
        """The last events of a stream that failed."""

    def whole(self, answer: WholeAnswer, /) -> bytes:
        """The body of an answer that is not streamed."""


Tokenize = Callable[[str, Prompt], Awaitable[Sequence[int]]]  # the ids of a prompt to an engine


class Session(Protocol):
    """What a call goes on from, and where its answer is kept beyond the request."""

    @property
    def is_background(self) -> bool:
        """The answer is made without a client that waits for it."""

    async def recall(self, responses: ResponseStore, owner: str, max_bytes: int, /) -> Call:
        """The call with what it refers to, to be answered in place of this one.

        Raises:
            RequestError: what it refers to is not there.
        """

    async def fitted(self, call: Call, card: ModelCard, tokenize: Tokenize, /) -> Call:
        """The recalled call to the engine with this card, without what its client lets be dropped where it is too long.

        Raises:
            RequestError: it cannot be tokenized.
        """

    async def keep(self) -> None:
        """Called when the answer is complete, or has failed, before its last bytes are sent.

        Raises:
            StoreFailed
        """

    async def begin(self, id: str, /) -> bytes:
        """Keep an answer that is not there yet, and return the body that says so. Only of a background call."""

    async def fail(self, id: str, error: RequestError, /) -> bytes:
        """Keep an answer that failed, and return the events that its stream still lacks. As `begin`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request body that is parsed and checked.

    Attributes:
        encoder: what writes the answer.
        ignored: names of the fields that have no effect, for a header.
        sent_as: name of an engine's parameter -> the name that this client used for it.
        session: None for an answer that stands for itself.
        resolution: what the name of the model means, once the `request` is one to the engine that answers.
    """

    request: AnswerRequest
    encoder: Callable[[Head], Encoder]
    ignored: str = ""
    sent_as: Mapping[str, str] = field(default_factory=dict)
    session: Session | None = None
    resolution: Resolution | None = None

    @property
    def model(self) -> str:
        """As the client named it."""
        return self.resolution.requested if self.resolution else self.request.model

    @property
    def model_names(self) -> tuple[str, ...]:
        """All that the model is called."""
        return self.resolution.names if self.resolution else (self.request.model,)

    def beside(self, card: ModelCard) -> Call:
        """The same, with the fields that have no effect on this model among those that have none."""
        ignored = [self.sent_as.get(name, name) for name in self.request.ignored(card)]
        return replace(self, ignored=", ".join(filter(None, (self.ignored, *ignored)))) if ignored else self

    def answered_by(self, resolution: Resolution) -> Call:
        """The same, as a request to the engine that the name of the model means.

        Raises:
            InvalidRequest: the name and a parameter name two adapters.
        """
        request = replace(self.request, model=resolution.engine)
        if resolution.adapter is not None:
            request = request.with_adapter(resolution.adapter)
        return replace(self, request=request, resolution=resolution)

    def named_as_sent(self, error: RequestError) -> RequestError:
        """The engine's error with the client's own name of the parameter at fault."""
        name = self.sent_as.get(error.param or "")
        if name is None:
            return error
        message = error.message
        if message.startswith(f"{error.param}:"):
            message = name + message.removeprefix(str(error.param))
        return type(error)(message, name)


class Dialect(Protocol):
    """What all paths of an API have in common."""

    @property
    def key_hint(self) -> str:
        """How a client presents its API key, for the error of one that does not."""

    @property
    def error_model(self) -> Any:
        """The type of its error bodies, for the API's description."""

    @property
    def ping(self) -> bytes:
        """What keeps a stream alive that has nothing to say."""

    @property
    def id_headers(self) -> tuple[bytes, ...]:
        """Under which names responses have the request's id, besides `x-request-id`."""

    def error_body(self, error: RequestError, request_id: str, /) -> bytes:
        """The JSON body of an error response."""

    def api_keys(self, headers: Mapping[bytes, list[bytes]], /) -> list[bytes]:
        """The API keys that a request presents, in any of the ways that the API's clients use."""


class Operation(Protocol):
    """One path that answers by generating."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def body(self) -> type[BaseModel]:
        """The model of its request bodies, for the API's description."""

    @property
    def answer(self) -> Any:
        """The type of its whole answers, for the API's description; the encoder's own functions make it."""

    @property
    def event(self) -> Any:
        """The type of the data of its server-sent events; None where they are no JSON."""

    def parse(self, fields: dict[str, Any], /) -> Call:
        """
        Raises:
            InvalidRequest: a field is missing, not allowed, or asks for what is not supported.
        """
