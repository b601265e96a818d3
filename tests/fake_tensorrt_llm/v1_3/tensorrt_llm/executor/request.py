from __future__ import annotations

from dataclasses import dataclass

DEFAULT_REQUEST_PRIORITY: float = 0.5


@dataclass(slots=True)
class LoRARequest:
    """Whether there is a file at the path is seen by the first request with it."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    lora_ckpt_source: str = "hf"
