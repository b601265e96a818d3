"""Logprobs of the tokens of a prompt, with the likeliest alternatives to each.

The pipeline gives them for what it samples alone, and without alternatives. So the model is compiled once more, as it
was exported, and reads the prompt in chunks; what it computes is what the pipeline computes, in the same precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.logprobs import TokenLogprob
from triton_repo.engine.runtimes.openvino.pipeline import model_properties

_CHUNK: Final = 64  # tokens: their logits of a large vocabulary take 64 MB, and a step of the engine waits for them


class PromptScorer:
    """One prompt at a time."""

    def __init__(self, model_directory: Path, config: EngineConfig) -> None:
        model = openvino.Core().read_model(model_directory / "openvino_model.xml")
        compiled = openvino.Core().compile_model(model, "CPU", model_properties(config))
        self._names = {name for port in compiled.inputs for name in port.names}
        self._request = compiled.create_infer_request()

    def score(self, ids: Sequence[int], num_top: int) -> Iterator[list[TokenLogprob]]:
        """The logprobs of all tokens, chunk by chunk: of the first none, and behind the last what may follow it.

        That has no logprob of its own either, only alternatives.
        """
        self._request.reset_state()
        scores = [TokenLogprob(None)]
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            logprobs = _log_softmax(self._logits(chunk, start))
            following = ids[start + 1 : start + 1 + len(chunk)]
            for row, next_id in zip(logprobs, [*following, None][: len(chunk)], strict=True):
                top = _top(row, num_top)
                if next_id is None:
                    scores.append(TokenLogprob(None, top))
                else:
                    rank = 1 + int((row > row[next_id]).sum())
                    scores.append(TokenLogprob(float(row[next_id]), top, rank))
            yield scores
            scores = []

    def _logits(self, ids: Sequence[int], num_read: int) -> NDArray[np.float32]:
        end = num_read + len(ids)
        inputs: dict[str, Any] = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, end), dtype=np.int64),
            "position_ids": np.arange(num_read, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer({name: value for name, value in inputs.items() if name in self._names})
        logits: NDArray[np.float32] = self._request.get_tensor("logits").data[0].astype(np.float32)
        return logits


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _top(row: NDArray[np.float32], num: int) -> list[tuple[int, float]]:
    """The likeliest ids, most likely first."""
    if not num:
        return []
    best = np.argpartition(row, -num)[-num:]
    return [(int(id), float(row[id])) for id in best[np.argsort(-row[best])]]
