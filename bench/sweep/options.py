"""What `conch sweep` was asked, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.options import Api

Objective = Literal["output-tokens", "goodput"]
Search = Literal["full", "quick"]


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """The command line of `conch sweep`; `conch sweep --help` says what each is."""

    spec: str
    vary: tuple[str, ...] = ()
    concurrency: str = "1,8,32"
    objective: Objective = "output-tokens"
    ttft_p99_ms: float | None = None
    itl_p99_ms: float | None = None
    end_to_end_p99_ms: float | None = None
    search: Search = "full"
    max_points: int = 200
    requests: int = 200
    warmup: int | None = None
    prompt_tokens: str = "128"
    output_tokens: str = "64"
    ignore_eos: bool = True
    temperature: float | None = None
    api: Api = "chat"
    seed: int = 0
    timeout: float = 120.0
    output_dir: Path | None = None
    retry_failed: bool = False
