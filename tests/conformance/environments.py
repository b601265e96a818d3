"""An environment for each client, made once with pip (and npm) in the user's cache: their dependencies do not agree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.clients import NODE, PROGRAMS, Client

INSTALL_TIMEOUT_S = 1800
PROGRAM_TIMEOUT_S = 1200
NODE_FOLDER = PROGRAMS / "node"


@dataclass(frozen=True)
class Environment:
    folder: Path

    def run(self, client: Client, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """The client's program. Its scripts for Node.js lie in a copy, beside the packages that npm installed."""
        if client.environment == NODE:
            shutil.copytree(NODE_FOLDER, self.folder / NODE, dirs_exist_ok=True)
            argv: list[str | Path] = [self._bin / "node", self.folder / NODE / client.path.name]
        else:
            argv = [self._bin / "python", client.path]
        return _run(argv, self.folder, PROGRAM_TIMEOUT_S, variables)

    def make(self, requirements: Path) -> None:
        _checked(_run([sys.executable, "-m", "venv", self.folder], self.folder.parent, INSTALL_TIMEOUT_S))
        pip: list[str | Path] = [self._bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _checked(_run([*pip, "--requirement", requirements], self.folder, INSTALL_TIMEOUT_S))
        if requirements.stem == NODE:
            shutil.copytree(NODE_FOLDER, self.folder / NODE)
            path = {"PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"}
            npm: list[str | Path] = [self._bin / "npm", "ci", "--no-audit", "--no-fund"]
            _checked(_run(npm, self.folder / NODE, INSTALL_TIMEOUT_S, path))

    @property
    def _bin(self) -> Path:
        return self.folder / "bin"


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "tests" / "conformance"


def environment_of(client: Client) -> Environment:
    """Made if it is not there, and again for other requirements; a folder whose making was cut off is removed."""
    requirements = PROGRAMS / "requirements" / f"{client.environment}.txt"
    locked = requirements.read_bytes() + (NODE_FOLDER / "package-lock.json").read_bytes() * (requirements.stem == NODE)
    folder = cache() / f"{client.environment}-{hashlib.sha256(locked).hexdigest()[:12]}"
    made = folder / ".made"
    if not made.exists():
        for former in (folder, *folder.parent.glob(f"{client.environment}-{'?' * 12}")):
            shutil.rmtree(former, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        Environment(folder).make(requirements)
        made.touch()
    return Environment(folder)


def _run(
    argv: Sequence[str | Path], folder: Path, timeout_s: float, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in argv],
        cwd=folder,
        env={**inherited, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _checked(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{done.args}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
