"""`python -m build_scripts.verify`."""

from __future__ import annotations

import typer

from build_scripts.verify.command import verify_command

if __name__ == "__main__":
    typer.run(verify_command)
