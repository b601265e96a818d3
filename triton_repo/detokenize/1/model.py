"""Triton's adapter of NAME_detokenize: tensors in, tensors out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import EngineFailed, to_wire
from triton_repo.contract.health.heartbeat import Heart, Work
from triton_repo.contract.tensors import DELTA_LENGTHS, FINISH_REASON, LOGPROBS, OUTPUT_IDS, TEXT_OUTPUT, Tensor
from triton_repo.detokenize.detokenizer import LENGTHS_OF_DELTA, Detokenizers, split_deltas
from triton_repo.detokenize.token_texts import list_deltas
from triton_repo.tracing.steps import steps_of_process

logger = logging.getLogger(__name__)


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        directory = EngineDirectory.of_triton_model(args["model_repository"])
        end_ids = EngineConfig.load(directory.path).eos_token_ids
        self._detokenizers = Detokenizers.load(directory.tokenizer_file, end_ids)
        self._steps = steps_of_process()
        self._work = Work()
        self._heart = Heart(args["model_name"], self._work.age_s)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        self._heart.stop()
        self._steps.close()

    def _answer(self, request: Any) -> Any:
        try:
            with self._work:
                return self._decode(request)
        except Exception:  # the boundary of one message: its failure must not fail the others of the batch
            logger.exception("a message of request %r could not be decoded", request.request_id())
            error = to_wire(EngineFailed("the answer could not be decoded"))
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(error, pb_utils.TritonError.INTERNAL))

    def _decode(self, request: Any) -> Any:
        ids, lengths = _row(request, OUTPUT_IDS), _row(request, DELTA_LENGTHS)
        finals = [bool(reason) for reason in _row(request, FINISH_REASON)]
        num_lengths = LENGTHS_OF_DELTA * len(finals)
        with self._steps.below(lengths[num_lengths:], "detokenize"):
            deltas = split_deltas(self._detokenizers, ids, lengths[:num_lengths], finals)
            texts = [delta.text() for delta in deltas]
            if pb_utils.get_input_tensor_by_name(request, LOGPROBS.name) is not None:
                texts += list_deltas(deltas, _row(request, LOGPROBS))
        # Without a batch dimension: NVIDIA's client takes the first element of the answer for its text.
        encoded = np.array([text.encode() for text in texts], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor(TEXT_OUTPUT.name, encoded)])


def _row(request: Any, tensor: Tensor) -> list[Any]:
    """The values of a tensor without its batch dimension of 1."""
    values: list[Any] = pb_utils.get_input_tensor_by_name(request, tensor.name).as_numpy()[0].tolist()
    return values
