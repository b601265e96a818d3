"""Runs the compiler on a GPU host, perhaps in NVIDIA's bare container: so it needs only Python's own library.

    python3 on_gpu_host.py [--tethered] ENGINE COMMAND… [--then COMMAND…]

Runs the commands one after the other and then notes in ENGINE/compiled_by.json by what and for what GPU the engine was
compiled. Without that file an engine does not count as compiled. With --tethered all of it ends when standard input
does, that is, when the process that started it dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

NOTE = "compiled_by.json"  # contract/engine_directory.py has it too, which is not there to be imported
TETHERED, THEN = "--tethered", "--then"


def commands_of(words: Sequence[str]) -> list[list[str]]:
    commands: list[list[str]] = [[]]
    for word in words:
        if word == THEN:
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def facts() -> dict[str, str | None]:
    """Versions and GPU of this machine; None where not known. (`nvidia-smi` is there wherever a driver is.)"""
    gpu, capability = _gpu()
    return {
        "tensorrt_llm": _version("tensorrt_llm"),
        "tensorrt": _version("tensorrt"),
        "cuda": os.environ.get("CUDA_VERSION"),  # NVIDIA's images set it
        "gpu": gpu,
        "capability": capability,
    }


def main() -> int:
    words = sys.argv[1:]
    if words[0] == TETHERED:
        os.setpgid(0, 0)
        threading.Thread(target=_die_with_parent, daemon=True).start()
        words = words[1:]
    engine = Path(words[0])
    (engine / NOTE).unlink(missing_ok=True)
    for command in commands_of(words[1:]):
        status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        if status:
            return status if status > 0 else 128 - status
    (engine / f"{NOTE}.new").write_text(json.dumps(facts(), indent=2) + "\n", encoding="utf-8")
    (engine / f"{NOTE}.new").replace(engine / NOTE)
    return 0


def _die_with_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> tuple[str | None, str | None]:
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None, None
    name, _, capability = output.partition("\n")[0].rpartition(", ")
    return name, capability


if __name__ == "__main__":
    sys.exit(main())
