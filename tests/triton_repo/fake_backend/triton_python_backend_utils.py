"""What the models use of Triton's module of this name, with its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class TritonError:
    INTERNAL = 1
    INVALID_ARG = 3

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message = message
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._array


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self._tensors = list(output_tensors)
        self._error = error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def error(self) -> TritonError | None:
        return self._error


class Metric:
    def __init__(self) -> None:
        self.total = 0.0

    def set(self, value: float) -> None:
        self.total = value

    def increment(self, value: float) -> None:
        self.total += value


class MetricFamily:
    COUNTER = 0
    GAUGE = 1

    def __init__(self, name: str, description: str, kind: int) -> None:  # noqa: ARG002
        self.name = name
        self.metrics: list[Metric] = []

    def Metric(self, labels: dict[str, str]) -> Metric:  # noqa: ARG002, N802
        metric = Metric()
        self.metrics.append(metric)
        return metric
