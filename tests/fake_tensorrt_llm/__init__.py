"""A stand-in for TensorRT-LLM, for machines without a GPU: put `PATH` on the search path of Python."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

PATH = str(Path(__file__).parent)


def install(directory: Path) -> Path:
    """A Python environment in `directory` that has what this one has, and the stand-in; its interpreter.

    Triton's stubs ignore PYTHONPATH: what they are to find must be installed.
    """
    venv.create(directory, symlinks=True)
    packages = next(directory.glob("lib/python3*/site-packages"))
    these = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
    (packages / "stand_in.pth").write_text(f"{these}\n{PATH}\n")
    return directory / "bin" / "python3"
