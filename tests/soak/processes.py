"""The processes of a running server, by what they do."""

from __future__ import annotations

from typing import Final

import psutil

PARTS: Final = {  # by what stands in the command line
    "engine stub": "_engine/1/",
    "preprocess stub": "_preprocess/1/",
    "detokenize stub": "_detokenize/1/",
    "tritonserver": "bin/tritonserver",
    "gateway": "-m gateway ",
    "gateway worker": "-m gateway.processes.worker ",
}


def processes(server: int) -> list[tuple[str, psutil.Process]]:
    """All that the process of `conch serve` has started and that is a part."""
    found = []
    for process in psutil.Process(server).children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        found += [(kind, process) for kind, mark in PARTS.items() if mark in command][:1]
    return found


def resident_mib(server: int) -> dict[str, float]:
    """By the name and number of each process."""
    sizes = {}
    for kind, process in processes(server):
        try:
            sizes[f"{kind} {process.pid}"] = process.memory_info().rss / 2**20
        except psutil.Error:  # ended meanwhile
            continue
    return sizes
