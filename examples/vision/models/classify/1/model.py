"""An ONNX model in the Python backend. The requests that Triton has put together are one run of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the language model beside it needs the other cores
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input, self.output = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name

    def execute(self, requests: list[Any]) -> list[Any]:
        batches = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        (scores,) = self.session.run([self.output], {self.input: np.concatenate(batches)})
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self.output, part)]) for part in np.split(scores, ends)]
