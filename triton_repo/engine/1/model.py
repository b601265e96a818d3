"""Triton's adapter of NAME_engine: requests in, deltas out, counters to Triton's /metrics."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_repo.contract.engine_config import EngineConfig, engine_directory
from triton_repo.contract.errors import InvalidRequest, RequestError, to_wire
from triton_repo.contract.tensors import (
    CHANNEL,
    DELTA_LENGTHS,
    FINISH_REASON,
    LOGPROBS,
    OUTPUT_IDS,
    RENEW,
    REQUEST_IDS,
    STOP,
    STOP_SEQUENCES,
    SUBSCRIBE,
    TOKEN_COUNTS,
    split_rows,
)
from triton_repo.engine.guides.desk import GuideDesk
from triton_repo.engine.guides.prover import guide_prover
from triton_repo.engine.loop.delivery import failing
from triton_repo.engine.loop.loop import EngineLoop
from triton_repo.engine.loop.outlet import Sink
from triton_repo.engine.loop.rows import RowSink, SharedSink, row_ids
from triton_repo.engine.loop.stream import Emission
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.opening import open_runtime
from triton_repo.engine.triton_metrics import EngineMetrics

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class ResponseSink:
    """Answers one Triton request through its response sender."""

    def __init__(self, sender: Any, direct: bool) -> None:
        self._sender = sender
        self._direct = direct

    def send(self, emissions: Sequence[Emission], *, final: bool) -> None:
        self._sender.send(pb_utils.InferenceResponse(_message(emissions)), flags=FINAL if final else 0)

    def end(self) -> None:
        self._sender.send(flags=FINAL)

    def fail(self, error: RequestError) -> None:
        code = pb_utils.TritonError.INVALID_ARG if isinstance(error, InvalidRequest) else pb_utils.TritonError.INTERNAL
        response = pb_utils.InferenceResponse(error=pb_utils.TritonError(to_wire(error), code))
        self._sender.send(response, flags=FINAL)

    def abandoned(self) -> bool:
        # Triton passes a cancelled stream on to the model that was called, not to the steps of an ensemble, and the
        # question is a round trip between two processes: so only the direct callers of NAME_engine are asked about.
        return self._direct and bool(self._sender.is_cancelled())


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        sys.setswitchinterval(0.001)  # the engine's thread must not keep new requests waiting for the GIL
        directory = engine_directory(args["model_repository"])
        self._config = EngineConfig.load(directory)
        metrics = EngineMetrics(self._config.name)
        self._loop = EngineLoop(open_runtime(directory, self._config), self._config.flush_interval_s, metrics.observe)
        self._desk = GuideDesk(self._loop, guide_prover(self._config))

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._take(request)

    def finalize(self) -> None:
        self._desk.close()
        self._loop.close()

    def _take(self, request: Any) -> None:
        tensors = {tensor.name(): tensor.as_numpy().tolist() for tensor in request.inputs()}
        sink = ResponseSink(request.get_response_sender(), direct=STOP_SEQUENCES.name not in tensors)
        with failing(str(request.request_id()), sink):
            rows = split_rows(tensors)
            parameters = json.loads(request.parameters() or "{}")
            if len(rows) > 1:
                self._submit_rows(rows, parameters, sink)
            elif rows[0].get(STOP.name, [False])[0]:
                self._loop.stop(_named(request, STOP.name))
                sink.end()
            elif RENEW in parameters:
                self._loop.renew(str(parameters[RENEW]))
                sink.end()
            elif parameters.get(SUBSCRIBE):
                self._loop.subscribe(_named(request, SUBSCRIBE), sink)
            else:
                self._submit(str(request.request_id()), rows[0], parameters, sink)

    def _submit_rows(self, rows: list[dict[str, Any]], parameters: dict[str, Any], sink: ResponseSink) -> None:
        ids = row_ids(rows)
        shared = SharedSink(sink, len(rows))
        for id, row in zip(ids, rows, strict=True):
            row_sink = RowSink(shared, id)
            with failing(id, row_sink):
                self._submit(id, row, parameters, row_sink)

    def _submit(self, id: str, row: dict[str, Any], parameters: dict[str, Any], sink: Sink) -> None:
        parsed = parse_request(row, parameters, self._config)
        self._desk.submit(id, parsed, sink, str(parameters.get(CHANNEL, "")))


def _named(request: Any, param: str) -> str:
    """The request's id, where it is what the request is about."""
    id = str(request.request_id())
    if not id:
        raise InvalidRequest(f"{param}: needs a request id", param)
    return id


def _message(emissions: Sequence[Emission]) -> list[Any]:
    """The tensors of one message; see `triton_repo.contract.tensors`."""
    ids = [id for emission in emissions for id in emission.output_ids]
    lengths = [length for emission in emissions for length in (emission.window_length, len(emission.output_ids))]
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
    if any(emission.logprobs or emission.token_lengths for emission in emissions):
        logprobs = [emission.token_data() for emission in emissions]
        tensors.append(pb_utils.Tensor(LOGPROBS.name, np.array([logprobs], dtype=np.object_)))
    return tensors
