"""The engines that the bars are measured on, by their specs."""

from __future__ import annotations

from typing import Final

from bench.child_server import ROOT

ENGINES: Final = ROOT / "bench" / "engines"
FAST: Final = str(ENGINES / "fast.toml")
LLAMA: Final = str(ENGINES / "llama-90m.toml")
