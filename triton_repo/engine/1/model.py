"""The Triton model NAME_engine: an adapter between Triton's requests and the engine loop."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import InvalidRequest, RequestError, to_wire
from triton_repo.contract.health.heartbeat import Heart, Work
from triton_repo.contract.llm_api import installed_llm_api
from triton_repo.contract.placement.cpus import run_on_cpus
from triton_repo.contract.tensors import (
    CHANNEL,
    DELTA_LENGTHS,
    FINISH_REASON,
    LOGPROBS,
    OUTPUT_IDS,
    REQUEST_IDS,
    TOKEN_COUNTS,
)
from triton_repo.engine.adapters import Adapters
from triton_repo.engine.calls import Generate, RefreshAdapters, Renew, Row, Stop, Subscribe, is_direct, parse_call
from triton_repo.engine.features import for_llm_api
from triton_repo.engine.guides.queue import GuideQueue, guide_validator
from triton_repo.engine.loop.delivery import errors_sent_to
from triton_repo.engine.loop.flush import FlushIntervals
from triton_repo.engine.loop.loop import EngineLoop, LoopSettings
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.loop.rows import RowSink, SharedSink, row_ids
from triton_repo.engine.loop.stream import Emission, listed
from triton_repo.engine.loop.traced_sink import traced
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.runtimes.runtime import PreparingRuntime
from triton_repo.engine.triton_metrics import EngineMetrics
from triton_repo.tracing.steps import steps_of_process

logger = logging.getLogger(__name__)

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class ResponseSink:
    """Answers one Triton request through its response sender."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self.is_direct = False

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        self._sender.send(pb_utils.InferenceResponse(_message(emissions)), flags=FINAL if final else 0)

    def end(self) -> None:
        self._sender.send(flags=FINAL)

    def fail(self, error: RequestError) -> None:
        code = pb_utils.TritonError.INVALID_ARG if isinstance(error, InvalidRequest) else pb_utils.TritonError.INTERNAL
        response = pb_utils.InferenceResponse(error=pb_utils.TritonError(to_wire(error), code))
        self._sender.send(response, flags=FINAL)

    def abandoned(self) -> bool:
        # Triton tells the model that was called of a cancelled stream, not the steps of an ensemble. Asking is a round
        # trip between two processes, so it is done only for direct calls of NAME_engine.
        return self.is_direct and bool(self._sender.is_cancelled())


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        sys.setswitchinterval(0.001)  # the engine's thread must not keep new requests waiting for the GIL
        directory = EngineDirectory.of_triton_model(args["model_repository"]).path
        self._config = for_llm_api(EngineConfig.load(directory), installed_llm_api())
        self._metrics = metrics = EngineMetrics(self._config.name)
        flush = FlushIntervals(self._config.few_streams_flush_interval_s, self._config.flush_interval_s)
        settings = LoopSettings(flush, self._config.max_step_s)
        run_on_cpus(self._config.name, self._config.placement.cpus_of(0))
        runtime = open_runtime(directory, self._config)
        self._adapters = Adapters(self._config, runtime)
        self._loop = EngineLoop(runtime, settings, metrics.observe, metrics.observe_step_age)
        prepare = runtime.prepare if isinstance(runtime, PreparingRuntime) else lambda _: None
        self._guides = GuideQueue(self._loop, guide_validator(directory, self._config), prepare=prepare)
        self._steps = steps_of_process()
        self._work = Work()
        self._heart = Heart(
            args["model_name"], lambda: max(self._loop.step_age_s(), self._work.age_s()), self._config.max_step_s
        )

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            try:
                with self._work:
                    self._run(request)
            except Exception:  # the boundary of one request: the others of the batch must be answered
                logger.exception("a request to the engine could not be answered")

    def finalize(self) -> None:
        self._heart.stop()
        self._guides.close()
        self._adapters.close()
        self._loop.close()
        self._metrics.close()
        self._steps.close()

    def _run(self, request: Any) -> None:
        id = str(request.request_id())
        sink = ResponseSink(request.get_response_sender())
        with errors_sent_to(id, sink):
            tensors = {tensor.name(): tensor.as_numpy().tolist() for tensor in request.inputs()}
            sink.is_direct = is_direct(tensors)
            parameters = json.loads(request.parameters() or "{}")
            match parse_call(id, tensors, parameters):
                case Generate([row]):
                    self._submit(id, row, parameters, sink)
                case Generate(rows):
                    self._submit_rows(row_ids(rows, id), rows, parameters, sink)
                case Subscribe(channel):
                    self._loop.subscribe(channel, sink)
                case Renew(channel):
                    self._loop.renew(channel)
                    sink.end()
                case RefreshAdapters():
                    self._adapters.refresh(id, sink, self._loop)
                case Stop(name):
                    self._loop.stop(name)
                    sink.end()

    def _submit_rows(self, ids: Sequence[str], rows: Sequence[Row], parameters: Mapping[str, Any], sink: Sink) -> None:
        shared = SharedSink(sink, len(rows))
        for id, row in zip(ids, rows, strict=True):
            self._submit(id, row, parameters, RowSink(shared, id))

    def _submit(self, id: str, row: Row, parameters: Mapping[str, Any], sink: Sink) -> None:
        trace = self._steps.begin("engine", parameters, id, "queue")
        sink = traced(sink, trace)
        with errors_sent_to(id, sink):
            parsed = replace(parse_request(row, parameters, self._adapters.config), trace=trace)
            self._adapters.check(parsed.sampling.lora_name)
            self._guides.submit(id, parsed, sink, str(parameters.get(CHANNEL, "")))


def _message(emissions: Sequence[Emission]) -> list[Any]:
    """The tensors of one message; see `triton_repo.contract.tensors`."""
    ids = [id for emission in emissions for id in emission.output_ids]
    lengths = [length for emission in emissions for length in emission.lengths]
    lengths += [each for emission in emissions for each in emission.trace]
    reasons = [emission.finish_reason.encode() for emission in emissions]
    counts = [
        count
        for emission in emissions
        for count in (emission.prompt_tokens, emission.cached_tokens, emission.generated)
    ]
    request_ids = [emission.request_id.encode() for emission in emissions]
    tensors = [
        pb_utils.Tensor(OUTPUT_IDS.name, np.array([ids], dtype=np.int32)),
        pb_utils.Tensor(DELTA_LENGTHS.name, np.array([lengths], dtype=np.int32)),
        pb_utils.Tensor(FINISH_REASON.name, np.array([reasons], dtype=np.object_)),
        pb_utils.Tensor(TOKEN_COUNTS.name, np.array([counts], dtype=np.int32)),
        pb_utils.Tensor(REQUEST_IDS.name, np.array([request_ids], dtype=np.object_)),
    ]
    if logprobs := listed(emissions):
        tensors.append(pb_utils.Tensor(LOGPROBS.name, np.array([logprobs], dtype=np.object_)))
    return tensors
