"""What transformers answers: computed where the model is loaded for its export anyway, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from build_scripts.openvino.verify.prompts import NEW_TOKENS
from build_scripts.openvino.verify.result import Expected


def write_expected(model: Any, prompts: Sequence[Sequence[int]], file: Path) -> None:
    """Run transformers' `model` on the prompts; the model has its own dtype again afterwards."""
    with torch.no_grad(), _in_float32(model):
        answers = [_answer(model, prompt) for prompt in prompts]
    Expected.save(file, answers)


@contextmanager
def _in_float32(model: Any) -> Iterator[None]:
    """One tensor at a time, so that the wider model is all that memory must hold. Widening loses nothing."""
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    dtypes = [tensor.dtype for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, dtype in zip(tensors, dtypes, strict=True):
            tensor.data = tensor.data.to(dtype)


def _answer(model: Any, prompt: Sequence[int]) -> Expected:
    ids = torch.tensor([prompt])
    rows = _logprobs(model, ids)
    given = rows[torch.arange(len(prompt) - 1), ids[0, 1:]]
    steps = [rows[-1]]
    for _ in range(NEW_TOKENS - 1):  # without transformers' cache, whose faults would hide the engine's
        ids = torch.cat([ids, steps[-1].argmax().reshape(1, 1)], -1)
        steps.append(_logprobs(model, ids)[-1])
    return Expected(np.array(prompt), given.numpy(), torch.stack(steps).numpy())


def _logprobs(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """[positions, vocabulary]."""
    logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return logits[0].float().log_softmax(-1)
