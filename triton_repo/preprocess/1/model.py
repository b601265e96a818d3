"""Triton's adapter of NAME_preprocess: tensors in, tensors out.

A request that takes no longer than others should wait is answered when `execute` returns, which is cheapest, and any
other one by its response sender: in Triton's default mode that is allowed since release 24.06.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import EngineFailed, EngineUnavailable, RequestError, SendAlone, to_wire
from triton_repo.contract.health.heartbeat import Heart, Work
from triton_repo.contract.tensors import INPUT_IDS, REJECTION, STOP_SEQUENCES, TOKEN_TEXTS, Tensor, split_rows
from triton_repo.preprocess.prompt import PromptEncoder
from triton_repo.preprocess.rows import PreparedRows, are_short, prepare
from triton_repo.preprocess.template_processes import MAX_SLOW
from triton_repo.tracing.steps import UNTRACED, Step, steps_of_process

logger = logging.getLogger(__name__)

_THREADS: Final = MAX_SLOW + 8  # slow templates leave some to the rest


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        directory = EngineDirectory.of_triton_model(args["model_repository"])
        config = EngineConfig.load(directory.path)
        # The gateway sends no more than a batch and a little: what takes long leaves half of it to the others.
        max_slow = min(MAX_SLOW, max(1, config.max_batch_size // 2))
        self._encoder = PromptEncoder.load(
            directory.tokenizer,
            config.max_seq_len,
            max_slow=max_slow,
            encode_special_tokens=config.encode_special_tokens,
        )
        self._steps = steps_of_process()
        self._threads = ThreadPoolExecutor(_THREADS, "prompts")
        self._work = Work()
        self._heart = Heart(args["model_name"], self._work.age_s)

    def execute(self, requests: list[Any]) -> list[Any]:
        with self._work:
            return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        self._encoder.close()
        self._threads.shutdown(cancel_futures=True)
        self._heart.stop()
        self._steps.close()

    def _answer(self, request: Any) -> Any:
        """The response, or None if it is sent later."""
        step = UNTRACED
        try:
            rows = split_rows({tensor.name(): tensor.as_numpy().tolist() for tensor in request.inputs()})
            parameters = json.loads(request.parameters() or "{}")
            step = self._steps.begin("preprocess", parameters, request.request_id())
            if are_short(rows):
                return _success(prepare(rows, parameters, self._encoder, others_wait=True), step)
        except SendAlone:
            pass
        except Exception as error:  # noqa: BLE001 - the boundary of one request, whose failure fails no other one
            return _failure(error, request.request_id(), step)
        future = self._threads.submit(prepare, rows, parameters, self._encoder, others_wait=False)
        future.add_done_callback(partial(_send, request.get_response_sender(), request.request_id(), step))
        return None


def _send(sender: Any, request_id: str, step: Step, future: Future[PreparedRows]) -> None:
    try:
        response = _success(future.result(), step)
    except CancelledError:
        response = _failure(EngineUnavailable("the server is shutting down"), request_id, step)
    except Exception as error:  # noqa: BLE001 - as above
        response = _failure(error, request_id, step)
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _success(prepared: PreparedRows, step: Step) -> Any:
    tensors = [
        pb_utils.Tensor(INPUT_IDS.name, np.array(prepared.input_ids, dtype=np.int32)),
        _column(STOP_SEQUENCES, [json.dumps(sequences) for sequences in prepared.stop_sequences]),
        _column(REJECTION, [to_wire(error) if error else "" for error in prepared.rejections]),
    ]
    if prepared.texts:
        tensors.append(_column(TOKEN_TEXTS, prepared.texts))
    step.end(next((error.reason for error in prepared.rejections if error), ""))
    return pb_utils.InferenceResponse(tensors)


def _column(tensor: Tensor, texts: Sequence[str]) -> Any:
    """A tensor of one text for each row."""
    return pb_utils.Tensor(tensor.name, np.array([[text.encode()] for text in texts], dtype=np.object_))


def _failure(error: Exception, request_id: str, step: Step) -> Any:
    if not isinstance(error, RequestError):
        logger.error("request %r could not be prepared", request_id, exc_info=error)
        error = EngineFailed("the prompt could not be prepared")
    step.end(error.reason)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(to_wire(error), pb_utils.TritonError.INVALID_ARG))
