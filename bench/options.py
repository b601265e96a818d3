"""What `conch bench` was asked, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Api = Literal["chat", "completions"]


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `conch bench`; `conch bench --help` says what each is."""

    url: str
    model: str | None = None
    api: Api = "chat"
    concurrency: str = "1"
    rate: str | None = None
    requests: int | None = None
    duration: float | None = None
    warmup: int = 4
    prompt_tokens: str = "128"
    output_tokens: str = "64"
    vocab_size: int | None = None
    ignore_eos: bool = False
    temperature: float | None = None
    seed: int = 0
    timeout: float = 600.0
    ttft_slo_ms: float | None = None
    itl_slo_ms: float | None = None
    cpu_of: tuple[int, ...] = ()
    api_key: str | None = None
    json: Path | None = None
    plot: Path | None = None

    def told(self) -> dict[str, object]:
        """What a report says of it: not the key, and not where the report lies."""
        hidden = ("api_key", "json", "plot")
        return {name: getattr(self, name) for name in self.__slots__ if name not in hidden}
