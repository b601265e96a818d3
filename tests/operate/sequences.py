"""A Triton repository of models beside the engines that keep sequences apart, or answer more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SEQUENCES: Final = """
name: "%(name)s"
backend: "python"
max_batch_size: %(batch)d
input [ { name: "add" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "total" data_type: TYPE_INT32 dims: [ 1 ] }, { name: "id" data_type: %(id)s dims: [ 1 ] } ]
sequence_batching {
  direct {}
  max_sequence_idle_microseconds: 60000000
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: %(id)s } ] }
  ]
}
instance_group [ { kind: KIND_CPU count: %(count)d } ]
"""
_TOTAL: Final = '''"""Adds up what a sequence sends; a total that nothing has begun is an error."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        add, start, end, id = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("add", "START", "END", "CORRID")
        )
        if not pb_utils.get_input_tensor_by_name(request, "READY").as_numpy().flat[0]:  # the slot of another sequence
            return self.tensors(0, id)
        key = id.flat[0]
        if start.flat[0]:
            self.totals[key] = 0
        self.totals[key] += int(add.flat[0])
        total = self.totals.pop(key) if end.flat[0] else self.totals[key]
        return self.tensors(total, id)

    def tensors(self, total, id):
        tensors = [pb_utils.Tensor("total", np.array([[total]], np.int32)), pb_utils.Tensor("id", id.reshape(1, 1))]
        return pb_utils.InferenceResponse(tensors)
'''
_AROUND: Final = """
name: "around"
platform: "ensemble"
max_batch_size: 4
input [ { name: "add" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "total" data_type: TYPE_INT32 dims: [ 1 ] }, { name: "id" data_type: TYPE_UINT64 dims: [ 1 ] } ]
ensemble_scheduling { step [ {
  model_name: "numbered"
  model_version: -1
  input_map { key: "add" value: "add" }
  output_map [ { key: "total" value: "total" }, { key: "id" value: "id" } ]
} ] }
"""
_WORDS_CONFIG: Final = """
name: "words"
backend: "python"
input [ { name: "count" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "word" data_type: TYPE_INT32 dims: [ 1 ] } ]
model_transaction_policy { decoupled: true }
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
_WORDS: Final = '''"""Answers a request as many times as it says."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for number in range(int(pb_utils.get_input_tensor_by_name(request, "count").as_numpy()[0])):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("word", np.array([number], np.int32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
'''


def write_repository(directory: Path) -> Path:
    """`numbered` has sequences of numbers, `named` of names, `around` is an ensemble with `numbered` as its step, and
    `words` is decoupled.

    Triton 2.51 cannot batch sequences of names: with a slot that has nothing, it fails what the others have.
    """
    _write(
        directory / "numbered", _SEQUENCES % {"name": "numbered", "id": "TYPE_UINT64", "batch": 4, "count": 1}, _TOTAL
    )
    _write(directory / "named", _SEQUENCES % {"name": "named", "id": "TYPE_STRING", "batch": 1, "count": 2}, _TOTAL)
    _write(directory / "words", _WORDS_CONFIG, _WORDS)
    (directory / "around" / "1").mkdir(parents=True)
    (directory / "around" / "config.pbtxt").write_text(_AROUND, encoding="utf-8")
    return directory


def _write(folder: Path, config: str, model: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    (folder / "1" / "model.py").write_text(model, encoding="utf-8")
