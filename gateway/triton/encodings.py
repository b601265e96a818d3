"""Texts to an encoder in Triton and back: one call for each message, which ends when nothing waits for it any more."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb

from gateway.answers.backend import Encoded, Texts
from gateway.triton.connection import TritonConnection
from gateway.triton.errors import model_error, rpc_error
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, from_wire
from triton_repo.contract.tensors import PADDING, PROMPT_TOKEN_IDS, TEXT_INPUT, Tensor
from triton_repo.embed.wire import NUM_TOKENS, OPTIONS, OUTPUTS, TEXT_PAIR, VALUES, Options
from triton_repo.tracing.steps import TRACEPARENT

_OUTPUTS: Final = tuple(pb.ModelInferRequest.InferRequestedOutputTensor(name=output.name) for output in OUTPUTS)
_LENGTH: Final = struct.Struct("<I")  # before each element of a BYTES tensor
_PADDING: Final = struct.pack("<i", PADDING)
_DEFAULT: Final = Options()


class Encodings:
    """The calls that are open on one connection."""

    def __init__(self, connection: TritonConnection) -> None:
        self._connection = connection
        self._open: dict[Any, str] = {}  # the model of each call
        self._lost: set[Any] = set()

    async def encode(self, texts: Texts) -> Encoded:
        """Raises: RequestError"""
        call = self._connection.ModelInfer(encode_request(texts))
        self._open[call] = texts.model
        try:
            return read_encoded(await call)
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            if from_wire(text) is None and error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise rpc_error(error) from None
            raise model_error(text, texts.model, "of texts") from None
        except asyncio.CancelledError:
            if call in self._lost:
                raise EngineUnavailable("the engine was lost") from None
            raise
        finally:
            del self._open[call]
            self._lost.discard(call)

    def lose(self, model: str) -> None:
        """The engine has died, and says nothing to those that wait."""
        self._lost |= {call for call, of_model in self._open.items() if of_model == model}
        for call in self._lost:
            call.cancel()

    def lose_all(self) -> None:
        for model in {*self._open.values()}:
            self.lose(model)


def encode_request(texts: Texts) -> Any:
    """As a protobuf ModelInferRequest."""
    request = pb.ModelInferRequest(model_name=texts.model, id=texts.id, outputs=_OUTPUTS)
    if texts.traceparent:
        request.parameters[TRACEPARENT].string_param = texts.traceparent
    if texts.are_ids:
        length = max(map(len, texts.firsts))
        padded = [ids + _PADDING * ((length - len(ids)) // len(_PADDING)) for ids in texts.firsts]
        _add(request, PROMPT_TOKEN_IDS, len(padded), length // len(_PADDING), b"".join(padded))
    else:
        _add(request, TEXT_INPUT, len(texts.firsts), 1, _strings(texts.firsts))
    if texts.seconds:
        _add(request, TEXT_PAIR, len(texts.seconds), 1, _strings(texts.seconds))
    if texts.options != _DEFAULT:
        options = texts.options.model_dump_json(exclude_defaults=True).encode()
        _add(request, OPTIONS, len(texts.firsts), 1, _strings([options] * len(texts.firsts)))
    return request


def read_encoded(response: Any) -> Encoded:
    """Raises: EngineFailed: it is no response of an encoder of ours."""
    raw = {
        output.name: content for output, content in zip(response.outputs, response.raw_output_contents, strict=False)
    }
    if VALUES.name not in raw or len(raw.get(NUM_TOKENS.name, b"?")) % 4:
        raise EngineFailed("the engine failed")
    return Encoded(raw[VALUES.name], sum(count for (count,) in struct.iter_unpack("<i", raw[NUM_TOKENS.name])))


def _add(request: Any, tensor: Tensor, rows: int, length: int, content: bytes) -> None:
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=(rows, length))
    request.raw_input_contents.append(content)


def _strings(texts: Sequence[bytes]) -> bytes:
    return b"".join([_LENGTH.pack(len(text)) + text for text in texts])
