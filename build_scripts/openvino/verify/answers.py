"""What the engine answers: through the pipeline that serves it, several prompts at once, in float32 or as it is served.

A model can be right as OpenVINO IR and wrong here: the pipeline rewrites its attention for a paged cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from build_scripts.openvino.verify.prompts import NEW_TOKENS
from build_scripts.openvino.verify.result import Answer
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError
from triton_repo.engine.runtimes.openvino.pipeline import open_pipeline


def ask(model: Path, config: EngineConfig, prompts: Sequence[Sequence[int]]) -> list[Answer]:
    """The greedy answers, each of `NEW_TOKENS`, with the logprobs of the prompts' own tokens.

    Raises:
        BuildError: the pipeline cannot open the model, or fails on a prompt; with OpenVINO's reason.
    """
    try:
        pipeline = open_pipeline(model, config)
        handles = [
            pipeline.add_request(number, openvino.Tensor(np.array([prompt], dtype=np.int64)), _greedy())
            for number, prompt in enumerate(prompts)
        ]
        while pipeline.has_non_finished_requests():
            pipeline.step()
    except RuntimeError as error:
        raise BuildError(f"OpenVINO's continuous batching cannot serve it: {reason(str(error))}") from error
    return [_read(handle) for handle in handles]


def reason(text: str) -> str:
    """What an exception of OpenVINO says, without the lines that say where in its source."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return "; ".join(told) or " ".join(lines)


def _greedy() -> Any:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = NEW_TOKENS
    config.ignore_eos = True
    config.echo = True  # the prompt's own tokens come back, with their logprobs
    config.logprobs = 1
    return config


def _read(handle: Any) -> Answer:
    ids: list[int] = []
    logprobs: list[float] = []
    while handle.can_read():
        for output in handle.read().values():
            ids += output.generated_ids
            logprobs += output.generated_log_probs
    return Answer(np.array(ids), np.array(logprobs[1:], dtype=np.float32))
