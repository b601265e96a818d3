"""The seam to Triton's models that are no engines of Conch: what one may ask of them, with no word of Triton's wire."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from gateway.answers.inference.tensor import Parameter, Tensor
from triton_repo.contract.errors import EngineUnavailable, ModelNotFound, RequestError

Json = dict[str, Any]

SEQUENCE: Final = "sequence_id"


class ModelVersion(NamedTuple):
    """A model, and which version of it; the empty one is for the model's own policy to choose."""

    name: str
    version: str = ""


class Wanted(NamedTuple):
    """An output that is asked for by name."""

    name: str
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Inference:
    """One request to one model; without `outputs` all are asked for. `traceparent`: see `Generation`."""

    model: ModelVersion
    id: str
    parameters: Mapping[str, Parameter]
    inputs: Sequence[Tensor]
    outputs: Sequence[Wanted] = ()
    traceparent: str = ""

    @property
    def sequence(self) -> str:
        """The id of the sequence that it is a part of; empty if it stands for itself."""
        return str(self.parameters.get(SEQUENCE) or "")

    def owned_by(self, owner: str) -> Inference:
        """The same, in a sequence that no other owner can name, since a model keeps what it was told in it.

        Its id stays a number or a text, of a form that Triton takes: a positive one of 64 bits, or one of 128
        characters. A text becomes so long whoever owns it: of a shorter one Triton 2.51 gives its Python models more
        than one, which is an error, and with 125 to 127 characters ends their process.

        Args:
            owner: empty where all clients are one.
        """
        given = self.parameters.get(SEQUENCE)
        if not given or type(given) not in (int, str) or (isinstance(given, int) and not owner):
            return self
        digest = hashlib.sha512(f"{owner} {given}".encode())
        own = digest.hexdigest() if isinstance(given, str) else int.from_bytes(digest.digest()[:8]) >> 1
        return replace(self, parameters={**self.parameters, SEQUENCE: own})


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a model answers; `model` has the version that did."""

    model: ModelVersion
    id: str
    parameters: Mapping[str, Parameter]
    outputs: Sequence[Tensor]


class OtherModels(Protocol):
    """Every method raises RequestErrors, and nothing else, for what can go wrong: ModelNotFound for no such model."""

    async def metadata(self, model: ModelVersion, /) -> Json:
        """Names, types and shapes of its tensors, as the Open Inference Protocol writes them."""

    async def configuration(self, model: ModelVersion, /) -> Json:
        """Its config.pbtxt, with the defaults."""

    async def statistics(self, model: ModelVersion, /) -> Json:
        """What it has done since it was loaded; of several servers that of one."""

    async def is_ready(self, model: ModelVersion, /) -> bool: ...

    async def infer(self, inference: Inference, /) -> Inferred:
        """To cancel it cancels the request in Triton too."""

    async def server_version(self) -> str:
        """Triton's own; of several servers that of one; empty where there is none."""


def other_model_not_found(model: ModelVersion) -> ModelNotFound:
    """In Triton's words, which NVIDIA's clients look for."""
    version = f" version {model.version[:20]}" if model.version else ""
    return ModelNotFound(f"Request for unknown model: {model.name[:200]!r}{version} is not found", "model")


class OpenInference:
    """`async with` it around what asks a model: `stop_engines` ends the block with an error."""

    def __init__(self, release: Callable[[OpenInference], None]) -> None:
        self._release = release
        self._block = asyncio.timeout(None)
        self._error: RequestError = EngineUnavailable("the server is shutting down")

    async def __aenter__(self) -> Self:
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release(self)
        try:
            await self._block.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise self._error from None

    def stop_engines(self, error: RequestError | None = None) -> None:
        """With `error`, or because the server shuts down; only the first time counts."""
        if self._block.when() is None:
            self._error = error or self._error
            self._block.reschedule(0)  # long ago
