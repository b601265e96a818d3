"""Raw KServe v2 over gRPC, as a client without the gateway speaks it."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

WAIT_S = 240
_DTYPES = {"BYTES": np.object_, "BOOL": np.bool_, "INT32": np.int32, "FP32": np.float32, "UINT64": np.uint64}

Answer = Any  # InferResult | InferenceServerException: tritonclient has no types


def row(name: str, datatype: str, values: list[Any]) -> InferInput:
    """A tensor of one row: shape [1, len(values)]."""
    return rows(name, datatype, [values])


def rows(name: str, datatype: str, values: list[list[Any]]) -> InferInput:
    """A tensor of several rows: shape [len(values), len(values[0])]."""
    data = np.array(values, dtype=_DTYPES[datatype])
    tensor = InferInput(name, list(data.shape), datatype)
    tensor.set_data_from_numpy(data)
    return tensor


class TritonStream:
    """One bidirectional stream; answers come in order of arrival."""

    def __init__(self, client: InferenceServerClient, answers: queue.Queue[Answer]) -> None:
        self._client = client
        self._answers = answers

    def send(
        self,
        model: str,
        inputs: list[InferInput],
        request_id: str = "",
        outputs: Sequence[str] = (),
        **parameters: Any,
    ) -> None:
        self._client.async_stream_infer(
            model,
            inputs,
            outputs=[InferRequestedOutput(name) for name in outputs] or None,
            request_id=request_id,
            parameters=parameters or None,
            enable_empty_final_response=True,
        )

    def next(self) -> Answer:
        return self._answers.get(timeout=WAIT_S)

    def until_final(self) -> Iterator[InferResult]:
        """The data responses of one request; raises its error."""
        while True:
            answer = self.next()
            if isinstance(answer, InferenceServerException):
                raise answer
            if answer.get_response().outputs:
                yield answer
            if answer.get_response().parameters["triton_final_response"].bool_param:
                return


@contextmanager
def triton_stream(address: str) -> Iterator[TritonStream]:
    answers: queue.Queue[Answer] = queue.Queue()
    client = InferenceServerClient(address)
    try:
        client.start_stream(lambda result, error: answers.put(error if result is None else result))
        yield TritonStream(client, answers)
    finally:
        client.stop_stream(cancel_requests=True)
        client.close()


def scalars(result: InferResult, *names: str) -> Mapping[str, Any]:
    """The values of outputs without their batch dimension; `text_output` has none."""
    return {name: result.as_numpy(name).ravel() for name in names}
