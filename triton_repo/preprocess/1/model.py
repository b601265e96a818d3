"""Triton's adapter of NAME_preprocess: tensors in, tensors out."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_repo.engine.config import EngineConfig, engine_directory
from triton_repo.errors import EngineFailed, RequestError, to_wire
from triton_repo.preprocess.prompt import Prompt, PromptEncoder
from triton_repo.tensors import BAD_WORDS, CHAT, INPUT_IDS, PROMPT_TOKEN_IDS, STOP_SEQUENCES, STOP_WORDS, TEXT_INPUT

logger = logging.getLogger(__name__)


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        directory = engine_directory(args["model_repository"])
        config = EngineConfig.load(directory)
        self._encoder = PromptEncoder.load(directory / "tokenizer", config.max_seq_len)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            return self._encode(request)
        except RequestError as error:
            return _refusal(error)
        except Exception:  # the boundary of one request: what is wrong with it must not fail those beside it
            logger.exception("request %r could not be prepared", request.request_id())
            return _refusal(EngineFailed("the prompt could not be prepared"))

    def _encode(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy()[0].tolist() for tensor in request.inputs()}
        prompt = Prompt(
            text=_first(tensors.get(TEXT_INPUT.name)),
            chat=_first(tensors.get(CHAT.name)),
            token_ids=tensors.get(PROMPT_TOKEN_IDS.name),
            stop_words=tensors.get(STOP_WORDS.name, ()),
            bad_words=tensors.get(BAD_WORDS.name, ()),
        )
        ids = np.array([self._encoder.encode(prompt)], dtype=np.int32)
        stop_sequences = json.dumps(self._encoder.stop_sequences(prompt.stop_words)).encode()
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(INPUT_IDS.name, ids),
                pb_utils.Tensor(STOP_SEQUENCES.name, np.array([[stop_sequences]], dtype=np.object_)),
            ]
        )


def _refusal(error: RequestError) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(to_wire(error), pb_utils.TritonError.INVALID_ARG))


def _first(values: list[bytes] | None) -> bytes | None:
    return None if values is None else values[0]
