"""Triton's adapter of NAME_preprocess: tensors in, tensors out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import EngineFailed, RequestError, to_wire
from triton_repo.contract.health.heartbeat import Heart, Work
from triton_repo.contract.tensors import INPUT_IDS, REJECTION, STOP_SEQUENCES, Tensor, split_rows
from triton_repo.preprocess.prompt import PromptEncoder
from triton_repo.preprocess.rows import prepare

logger = logging.getLogger(__name__)


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        directory = EngineDirectory.of_triton_model(args["model_repository"])
        config = EngineConfig.load(directory.path)
        self._encoder = PromptEncoder.load(directory.tokenizer, config.max_seq_len)
        self._work = Work()
        self._heart = Heart(args["model_name"], self._work.age_s)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        self._heart.stop()

    def _answer(self, request: Any) -> Any:
        try:
            with self._work:
                return self._encode(request)
        except RequestError as error:
            return _failure(error)
        except Exception:  # the boundary of one request: its failure must not fail the others of the batch
            logger.exception("request %r could not be prepared", request.request_id())
            return _failure(EngineFailed("the prompt could not be prepared"))

    def _encode(self, request: Any) -> Any:
        rows = split_rows({tensor.name(): tensor.as_numpy().tolist() for tensor in request.inputs()})
        prepared = prepare(rows, json.loads(request.parameters() or "{}"), self._encoder)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(INPUT_IDS.name, np.array(prepared.input_ids, dtype=np.int32)),
                _column(STOP_SEQUENCES, [json.dumps(sequences) for sequences in prepared.stop_sequences]),
                _column(REJECTION, [to_wire(error) if error else "" for error in prepared.rejections]),
            ]
        )


def _column(tensor: Tensor, texts: Sequence[str]) -> Any:
    """A tensor of one text for each row."""
    return pb_utils.Tensor(tensor.name, np.array([[text.encode()] for text in texts], dtype=np.object_))


def _failure(error: RequestError) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(to_wire(error), pb_utils.TritonError.INVALID_ARG))
