"""The encoder itself: token ids in, numbers out, computed by OpenVINO in as many streams as pay.

A stream is a computation at a time on threads of its own. Two streams of one thread do more work than one stream of
two, whose threads wait for each other after every layer; and while a long text is computed in one, short ones are in
the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from triton_repo.contract.engine_config import OPENVINO_KERNELS
from triton_repo.contract.placement.cpus import thread_properties, usable_cpus
from triton_repo.embed.schedule import Floats
from triton_repo.embed.settings import MODEL_FILE, EncoderConfig, EncoderFacts
from triton_repo.embed.texts import Tokens

_STREAM_OF_EACH: Final = 4  # threads: with more, several share a stream


def num_streams(num_threads: int) -> int:
    """How many computations run side by side."""
    return min(num_threads, max(_STREAM_OF_EACH, num_threads // _STREAM_OF_EACH))


Compute = Callable[[Sequence[Tokens]], Floats]  # [rows, width]


class Encoder:
    """Opened once. `compute` functions are independent of each other: one for each thread that computes.

    `compute` itself is for one thread, before the others begin.
    """

    def __init__(self, model: Path, config: EncoderConfig) -> None:
        import openvino

        num_threads = config.num_threads or len(usable_cpus())
        self.num_streams = num_streams(num_threads)
        self._facts = config.facts
        settings = {
            **OPENVINO_KERNELS,
            "INFERENCE_PRECISION_HINT": "f32",  # where the CPU has bfloat16, OpenVINO would use it
            **thread_properties(num_threads),
            "NUM_STREAMS": self.num_streams,
        }
        self._model = openvino.Core().compile_model(model / MODEL_FILE, "CPU", settings)

    def compute(self) -> Compute:
        request = self._model.create_infer_request()

        def compute(rows: Sequence[Tokens]) -> Floats:
            answer: Floats = request.infer(inputs_of(rows, self._facts))[0]
            return answer.copy()

        # Two threads that make their first arrays at once would wait for ever, and all Python with them: OpenVINO's
        # bindings (2026.4) look numpy up under a lock, let go of Python's lock meanwhile, and wait for theirs with it.
        compute([Tokens([self._facts.pad_token_id], [0])])
        return compute


def inputs_of(rows: Sequence[Tokens], facts: EncoderFacts) -> dict[str, NDArray[np.int64]]:
    """Each [rows, longest row]."""
    shape = len(rows), max(len(row.ids) for row in rows)
    ids, mask = np.full(shape, facts.pad_token_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
        mask[number, : len(row.ids)] = 1
        types[number, : len(row.types)] = row.types
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    return {**inputs, "token_type_ids": types} if facts.token_types else inputs
