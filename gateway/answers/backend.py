"""The seam between answers and engines: a few typed values and one protocol, with no word of Triton's wire."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import orjson

from gateway.answers.inference.models import OtherModels
from gateway.answers.parsing import Parsing
from triton_repo.contract.errors import EngineUnavailable, RequestError
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import Sampling
from triton_repo.contract.tensors import Echo, FinishReason
from triton_repo.embed.wire import Options

_ID_BYTES: Final = array("i").itemsize
_ARGUMENTS: Final = "template_arguments"


class Delta(NamedTuple):
    """What an engine adds to one generation. Counts are totals so far; `cached_tokens` < 0 is not reported.

    `tokens` is the JSON of the new tokens, if their logprobs or lengths were asked for
    (see `triton_repo.contract.tensors.TEXT_OUTPUT`); `prompt` that of the prompt, once, if it was asked for.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt that the engine's chat template renders: the JSON of `triton_repo.contract.tensors.CHAT`."""

    json: bytes

    @property
    def num_bytes(self) -> int:
        return len(self.json)

    def template_arguments(self) -> dict[str, Any]:
        """A copy."""
        arguments: dict[str, Any] | None = orjson.loads(self.json).get(_ARGUMENTS)
        return arguments or {}

    def with_template_arguments(self, arguments: Mapping[str, Any]) -> Chat:
        return Chat(orjson.dumps({**orjson.loads(self.json), _ARGUMENTS: arguments}))


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt that the engine tokenizes; `add_special_tokens` None is the engine's own default."""

    text: str
    add_special_tokens: bool | None = None

    @property
    def num_bytes(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt that is tokenized already: its ids as 32-bit integers in this machine's byte order."""

    packed: bytes

    @classmethod
    def of(cls, ids: Iterable[int]) -> PromptIds:
        return cls(array("i", ids).tobytes())

    @property
    def num_bytes(self) -> int:
        return len(self.packed)

    @property
    def num_ids(self) -> int:
        return len(self.packed) // _ID_BYTES


Prompt = Chat | PromptText | PromptIds


@dataclass(frozen=True, slots=True)
class Generation:
    """One request to one engine.

    Attributes:
        stream: False asks for the whole text as one delta.
        stops: the stop strings that its deltas will be searched for, so that they bring the lengths of their tokens.
        most_tokens: how many may be kept for it, whatever the engine would write; None: any number.
        keep_special: the text is to hold special tokens, but for those that end the answer.
        parsing: how the text is read; None for text alone.
        keep_stop: the stop string that ends it is part of its text.
        clip_max_tokens: `max_tokens` beyond the room in the context is no error.
        echo: its text begins with the prompt, or is the prompt alone.
        token_ids: its deltas are to bring the ids of their tokens, and of the prompt.
        num_last: of its prompt only so many tokens are kept, the last ones; None keeps all.
        traceparent: W3C's name of the span that those of its engine are below; "" for one that is not traced.
    """

    request_id: str
    model: str
    prompt: Prompt
    sampling: Sampling
    stream: bool
    stops: tuple[str, ...] = ()
    most_tokens: int | None = None
    keep_stop: bool = False
    num_last: int | None = None
    token_ids: bool = False
    echo: Echo = ""
    keep_special: bool = False
    clip_max_tokens: bool = False
    parsing: Parsing | None = None
    traceparent: str = ""

    @property
    def lists_tokens(self) -> bool:
        """The client gets the tokens, not the text alone."""
        return self.token_ids or self.sampling.logprobs is not None

    @property
    def token_lengths(self) -> bool:
        """Its deltas are to bring the lengths of their tokens."""
        return bool(self.stops) or (self.parsing is not None and self.parsing.counts_tokens)


@dataclass(frozen=True, slots=True)
class TokenTexts:
    """The text of a prompt, and the pieces of the vocabulary that it consists of.

    Attributes:
        text: what the chat template made of a chat; of ids that of all of them, special tokens included.
    """

    ids: Sequence[int]
    text: str
    pieces: Sequence[str]


class EngineLost(EngineUnavailable):
    """The engine was there when it was asked, and is no more: worth another try once it `is_back`."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What an encoder reads in one message: texts in UTF-8, pairs where there are `seconds`, or packed token ids.

    `id` is that of the request whose texts they are; `traceparent`: see `Generation`.
    """

    model: str
    firsts: Sequence[bytes]
    options: Options
    seconds: Sequence[bytes] = ()
    are_ids: bool = False
    id: str = ""
    traceparent: str = ""


class Encoded(NamedTuple):
    """Of some texts: their numbers [texts, width] as 32-bit floats, little-endian, and the tokens that were read."""

    values: bytes
    num_tokens: int


class Backend(Protocol):
    """Where answers come from. Every method raises RequestErrors, and nothing else, for what can go wrong."""

    @property
    def others(self) -> OtherModels:
        """What is served beside the engines."""

    async def models(self) -> Mapping[str, ModelCard]:
        """The engines that are ready, by name."""

    def known(self) -> Mapping[str, ModelCard]:
        """The engines that were ready when that was last asked, by name; perhaps none."""

    async def card(self, model: str) -> ModelCard:
        """The card of one engine.

        Raises:
            ModelNotFound: no engine of this name is ready.
        """

    def check_progress(self, model: str, /) -> None:
        """
        Raises:
            EngineUnavailable: the engine is known to make no progress, or to be away.
        """

    async def is_back(self, model: str, /) -> None:
        """Return once an engine that was lost is ready again, however long that takes."""

    def generate(self, generation: Generation, ended: Callable[[], None] = ..., /) -> AsyncGenerator[Delta, None]:
        """The deltas; the last one, and only that, has a finish reason. Closing it early stops no engine.

        `ended` is called once the engine is through with it, even if nothing reads its deltas.

        Raises:
            EngineLost: the engine ended, or ends, with all that it had.
        """

    async def tokenize(self, model: str, prompt: Prompt) -> Sequence[int]:
        """The ids of a prompt as its engine would get them, without asking the engine.

        There may be any number of them, as long as its text has no more bytes than any that the engine takes.

        Raises:
            ContextLengthExceeded: it has more.
            InvalidRequest: the chat template rejects it.
        """

    async def token_texts(self, model: str, prompt: Prompt) -> TokenTexts:
        """The same with what is written in them: the text of a chat, or that of ids (the inverse of `tokenize`).

        Raises:
            InvalidRequest: as `tokenize`, or the vocabulary lacks an id of the prompt.
        """

    def cancel(self, generation: Generation, error: RequestError | None = None) -> None:
        """Tell the engine to stop; a generation that has ended, or has not begun, is no error.

        Its `generate` ends as the engine says, or with `error` at once.
        """

    async def encode(self, texts: Texts) -> Encoded:
        """What an encoder makes of the texts; cancelling it ends the work on them."""

    async def ready(self) -> None:
        """Return if some engine is ready and makes progress.

        Raises:
            EngineUnavailable: none is; the message is the reason.
        """

    async def close(self) -> None:
        """End whatever is open: its `generate` raises EngineUnavailable. May be called again."""
