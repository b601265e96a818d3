"""`conch build` as a file to run: python build_scripts/build_engine.py SPEC."""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this file's own folder first, where packages have the names of the libraries that they call.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer  # noqa: E402

from build_scripts.command import build_command  # noqa: E402

if __name__ == "__main__":
    typer.run(build_command)
