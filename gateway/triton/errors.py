"""What errors of gRPC and of Triton mean for a request. Their own words are logged and never shown to a client."""

from __future__ import annotations

import logging
import re
from typing import Final

import grpc

from gateway.answers.backend import EngineLost
from gateway.answers.inference.models import ModelVersion, other_model_not_found
from triton_repo.contract.errors import (
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    RequestError,
    from_wire,
)

logger = logging.getLogger(__name__)

# Triton's error messages have no code. These say that the model was unloaded, and that a later request may succeed.
_UNLOADED: Final = ("unknown model", "no available versions")
_LOST: Final = ("Stub process", "is stopping")
_TEMPORARY: Final = ("is not ready", "maximum queue size", "shared memory pool")
# How a call ends whose server died, stops or does not answer.
_GONE: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)

# What is the client's fault, in the words of Triton or of the model.
_OF_CLIENT: Final = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.ALREADY_EXISTS,
)
_MAX_WORDS: Final = 1000  # characters
_ENSEMBLE: Final = re.compile(r"^in ensemble '[^']*', ")  # before what a step of one says


def rpc_error(error: grpc.aio.AioRpcError, level: int = logging.WARNING) -> RequestError:
    """What the end of a call by gRPC means; its words are logged at that level."""
    logger.log(level, "Triton: %s: %r", error.code(), error.details())
    if error.code() in _GONE:
        return EngineLost("the engine cannot be reached")
    return EngineFailed("the engine failed")


def call_error(error: grpc.aio.AioRpcError, model: str) -> RequestError:
    """What the end of a call of one model means, which may be the model's own error."""
    return rpc_error(error) if error.code() in _GONE else model_error(error.details() or "", model, "of a prompt")


def model_error(text: str, model: str, request_id: str) -> RequestError:
    """The error that a model of ours raised, or a sentence that shows nothing of Triton's own words."""
    ours = from_wire(text)
    if ours is not None:
        return ours
    logger.error("Triton on request %s to model %s: %r", request_id, model, text)
    if any(words in text for words in _UNLOADED):
        return model_not_found(model)
    if any(words in text for words in _LOST):
        return EngineLost("the engine is not ready")
    if any(words in text for words in _TEMPORARY):
        return EngineUnavailable("the engine is not ready")
    return EngineFailed("the engine failed")


def other_model_error(error: grpc.aio.AioRpcError, model: ModelVersion) -> RequestError:
    """What the end of a call of a model that is none of ours means.

    What it says is the client's fault is shown, the first line of it; a Python model says so with
    `TritonError(…, TritonError.INVALID_ARG)`. The rest is for the log: it may be a traceback.
    """
    words = error.details() or ""
    logger.warning("Triton of model %s: %s: %r", model.name, error.code(), words)
    if error.code() is grpc.StatusCode.NOT_FOUND or any(each in words for each in _UNLOADED):
        return other_model_not_found(model)
    if error.code() in _OF_CLIENT:
        return InvalidRequest(_ENSEMBLE.sub("", words).partition("\n")[0][:_MAX_WORDS])
    if error.code() is grpc.StatusCode.UNAVAILABLE and any(each in words for each in _TEMPORARY):
        return EngineUnavailable("the model is not ready, or has as many requests as it may have")
    if error.code() in _GONE:
        return EngineLost("the model cannot be reached")
    return EngineFailed("the model failed; the log of the server says why")


def model_not_found(model: str) -> ModelNotFound:
    return ModelNotFound(f"model {model[:200]!r} does not exist or is not ready", "model")
