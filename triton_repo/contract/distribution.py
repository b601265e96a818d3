"""How Conch is installed: the name that pip knows it by, its version, and the command that adds optional packages.

Conch runs from its checkout, installed in editable mode: on PyPI `conch` is another project.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "conch-serving"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


def conch_version() -> str:
    return metadata.version(DISTRIBUTION)


def installed_version(package: str) -> str | None:
    """The version of a package that is installed for this Python; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def install_command(*extras: str) -> str:
    """The command that installs the packages of these extras for this interpreter, wherever it is run.

    The versions in constraints.txt count: in the GPU image those that it came with, so that pip moves none of them.
    """
    constraints = _CHECKOUT / "constraints.txt"
    pinned = f" -c {_shown(constraints)}" if constraints.is_file() else ""
    checkout = _shown(_CHECKOUT)
    return f"{_shown(Path(sys.executable))} -m pip install{pinned} -e '{checkout}[{','.join(extras)}]'"


def _shown(path: Path) -> str:
    """Relative to the working directory where it is below it, else absolute."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
