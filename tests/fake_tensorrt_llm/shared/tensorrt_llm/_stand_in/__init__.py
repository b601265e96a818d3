"""What both versions of the stand-in have in common. TensorRT-LLM itself has nothing of this name."""

from __future__ import annotations

import os

ENVIRONMENT = dict(os.environ)  # as it was when TensorRT-LLM was imported
