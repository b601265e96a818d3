from __future__ import annotations

import warnings

from tensorrt_llm._torch.peft.lora.config import LoraConfig

warnings.warn("tensorrt_llm.lora_manager will be removed", FutureWarning, stacklevel=2)

__all__ = ["LoraConfig"]
