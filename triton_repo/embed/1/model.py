"""Triton's adapter of an encoder: tensors in, tensors out.

Requests are answered by their response senders: in Triton's default mode that is allowed since release 24.06.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import EngineFailed, RequestError, to_wire
from triton_repo.contract.health.heartbeat import Heart
from triton_repo.contract.placement.cpus import run_on_cpus
from triton_repo.embed.activation import activate
from triton_repo.embed.encoder import Encoder
from triton_repo.embed.schedule import Floats
from triton_repo.embed.settings import EncoderConfig
from triton_repo.embed.texts import TextReader, Tokens, read_options
from triton_repo.embed.wire import NUM_TOKENS, VALUES, Options
from triton_repo.embed.worker import Worker
from triton_repo.tracing.steps import Step, steps_of_process

logger = logging.getLogger(__name__)

FINAL: Final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Reply:
    """Answers one request, once; `sent` says that it has. With the answer `trace` ends."""

    def __init__(self, sender: Any, trace: Step) -> None:
        self._sender = sender
        self.trace = trace
        self.is_cancelled: Callable[[], bool] = sender.is_cancelled
        self.sent = Event()

    def send(self, response: Any, error: str = "") -> None:
        self.trace.end(error)
        try:
            self._sender.send(response, flags=FINAL)
        finally:  # it can only fail because Triton has gone
            self.sent.set()

    def fail(self, error: RequestError) -> None:
        text = pb_utils.TritonError(to_wire(error), pb_utils.TritonError.INVALID_ARG)
        self.send(pb_utils.InferenceResponse(error=text), error.reason)


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        directory = EngineDirectory.of_triton_model(args["model_repository"])
        config = EncoderConfig.load(directory.path)
        run_on_cpus(config.name, config.placement.cpus_of(_instance(args["model_instance_name"])))
        encoder = Encoder(directory.model.path, config)
        self._waits = config.placement.waits_for_answers
        self._activation = config.facts.activation
        self._reader = TextReader(Tokenizer.from_buffer(directory.tokenizer_file.read_bytes()), config)
        computes = [encoder.compute() for _ in range(encoder.num_streams)]
        self._worker = Worker(computes, config.max_batch_size, config.max_num_tokens)
        self._steps = steps_of_process()
        self._reading = ThreadPoolExecutor(1, "texts")  # of one thread: the tokenizer has a state, and many of its own
        self._heart = Heart(args["model_name"], self._worker.age_s, config.max_step_s)

    def execute(self, requests: list[Any]) -> list[None]:
        replies: list[Reply] = []
        for request in requests:
            values = {tensor.name(): tensor.as_numpy().tolist() for tensor in request.inputs()}
            parameters, id = json.loads(request.parameters() or "{}"), request.request_id()
            reply = Reply(request.get_response_sender(), self._steps.begin("encode", parameters, id, "tokenize"))
            replies.append(reply)
            self._reading.submit(self._start, values, reply, id)
        for reply in replies if self._waits else ():
            reply.sent.wait()
        return [None] * len(requests)

    def finalize(self) -> None:
        self._reading.shutdown()
        self._worker.close()
        self._heart.stop()
        self._steps.close()

    def _start(self, values: dict[str, Any], reply: Reply, request_id: str) -> None:
        try:
            options = read_options(values)
            tokens = self._reader.read(values, options)
            reply.trace.enter("queue")
            begins = partial(reply.trace.enter, "compute")
            self._worker.submit(tokens, partial(self._answer, reply, tokens, options), reply.is_cancelled, begins)
        except RequestError as error:
            reply.fail(error)
        except Exception:  # the boundary of one request, whose failure fails no other one
            logger.exception("request %r could not be read", request_id)
            reply.fail(EngineFailed("the text could not be encoded"))

    def _answer(self, reply: Reply, tokens: list[Tokens], options: Options, outcome: Floats | RequestError) -> None:
        if isinstance(outcome, RequestError):
            reply.fail(outcome)
            return
        values = activate(outcome, self._activation) if options.activation else outcome
        counts = np.array([[len(row.ids)] for row in tokens], dtype=np.int32)
        outputs = [pb_utils.Tensor(VALUES.name, values), pb_utils.Tensor(NUM_TOKENS.name, counts)]
        reply.send(pb_utils.InferenceResponse(outputs))


def _instance(name: str) -> int:
    """Triton names the instances of a model GROUP_0, GROUP_1 and so on."""
    return int(name.rpartition("_")[2])
