"""Runs the compiler on a GPU host, perhaps in NVIDIA's bare container: so it needs only Python's own library.

    python3 on_gpu_host.py [--tethered] [--link SOURCE INTO] [--gpus-per-node N] ENGINE COMMAND… [--then COMMAND…]

Runs the commands one after the other and then notes in ENGINE/compiled_by.json by what and for what GPU the engine was
compiled. Without that file an engine does not count as compiled. With --tethered all of it ends when standard input
does, that is, when the process that started it dies. With --link the files of SOURCE that INTO lacks are linked there
while the commands run. With --gpus-per-node the engine expects so many GPUs in a machine, not 8, as TensorRT-LLM's
quantizer and converter have it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

NOTE = "compiled_by.json"  # contract/engine_directory.py has it too, which is not there to be imported
TETHERED, LINK, GPUS_PER_NODE, THEN = "--tethered", "--link", "--gpus-per-node", "--then"


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
    tethered, link, gpus_per_node, words = _options(sys.argv[1:])
    if tethered:
        os.setpgid(0, 0)
        threading.Thread(target=_die_with_parent, daemon=True).start()
    engine = Path(words[0])
    (engine / NOTE).unlink(missing_ok=True)
    with _linked(*link):
        for command in commands_of(words[1:]):
            status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
            if status:
                return status if status > 0 else 128 - status
    if gpus_per_node:
        _set_gpus_per_node(engine / "config.json", gpus_per_node)
    (engine / f"{NOTE}.new").write_text(json.dumps(facts(), indent=2) + "\n", encoding="utf-8")
    (engine / f"{NOTE}.new").replace(engine / NOTE)
    return 0


def _options(words: list[str]) -> tuple[bool, list[Path], int, list[str]]:
    """Tethered or not, what to link into what, GPUs of a machine (0: leave it), the engine with its commands."""
    tethered, link, gpus_per_node = False, list[Path](), 0
    while words[0] in {TETHERED, LINK, GPUS_PER_NODE}:
        if words[0] == TETHERED:
            tethered, words = True, words[1:]
        elif words[0] == LINK:
            link, words = [Path(words[1]), Path(words[2])], words[3:]
        else:
            gpus_per_node, words = int(words[1]), words[2:]
    return tethered, link, gpus_per_node, words


@contextmanager
def _linked(source: Path | None = None, into: Path | None = None) -> Iterator[None]:
    """Links that an earlier run has left are replaced: it may have seen the checkpoint at another path."""
    if source is None or into is None:
        yield
        return
    into.mkdir(exist_ok=True)
    _unlink(into)
    for file in source.iterdir():
        if file.is_file() and not (into / file.name).exists():
            (into / file.name).symlink_to(file)
    try:
        yield
    finally:
        _unlink(into)


def _unlink(directory: Path) -> None:
    for link in directory.iterdir():
        if link.is_symlink():
            link.unlink()


def _set_gpus_per_node(file: Path, count: int) -> None:
    """TensorRT-LLM's Python and its C++ both read it there, and do not start where a machine has fewer."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["pretrained_config"]["mapping"]["gpus_per_node"] = count
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


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
        output = subprocess.run(query, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None, None
    name, _, capability = output.partition("\n")[0].rpartition(", ")
    return name, capability


if __name__ == "__main__":
    sys.exit(main())
