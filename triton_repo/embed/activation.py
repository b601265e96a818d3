"""What turns the numbers of a classification head into scores and probabilities."""

from __future__ import annotations

import numpy as np

from triton_repo.embed.schedule import Floats
from triton_repo.embed.settings import Activation


def activate(numbers: Floats, activation: Activation) -> Floats:
    """Row by row: [rows, width]."""
    if activation == "sigmoid":
        # Of large negative numbers exp overflows, and of large positive ones nothing is left: each has its own form.
        small = np.exp(-np.abs(numbers))
        numbers = np.where(numbers >= 0, 1 / (1 + small), small / (1 + small))
    if activation == "softmax":
        powers = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        numbers = powers / powers.sum(axis=1, keepdims=True)
    return numbers.astype(np.float32)
