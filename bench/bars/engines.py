"""The engines that the bars are measured on, by their specs, and the checkpoint that they are built from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.child_server import ROOT
from triton_repo.contract.errors import BenchError

ENGINES: Final = ROOT / "bench" / "engines"
FAST: Final = str(ENGINES / "fast.toml")
LLAMA: Final = str(ENGINES / "llama-90m.toml")
_CHECKPOINT: Final = ENGINES / "checkpoint-90m"


def llama_checkpoint() -> Path:
    """What the Llamas are built from, made if it is not there. BenchError if that fails."""
    if not _CHECKPOINT.exists():
        make("bench.bars.checkpoint", _CHECKPOINT)
    return _CHECKPOINT


def make(module: str, *paths: Path) -> None:
    """Run a module that writes checkpoints, in a process of its own: it imports torch. BenchError if it fails."""
    done = subprocess.run([sys.executable, "-m", module, *map(str, paths)], cwd=ROOT, check=False)
    if done.returncode:
        raise BenchError(f"{module} failed")
