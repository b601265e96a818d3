"""A proxy as a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.operate.replicas import WAIT_S
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


def substituted(file: Path, replacements: Mapping[str, str]) -> str:
    """The text of a configuration with other addresses; each must be there."""
    text = file.read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert old in text, f"{file} has no {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def proxy(argv: Sequence[str], url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Running and answering at `url`, whatever it answers; ended by SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: process.poll() is not None or answers(url), lambda: log.read_text(errors="replace"))
            assert process.poll() is None, log.read_text(errors="replace")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(WAIT_S)
            finally:
                process.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code > 0
    except httpx.TransportError:
        return False
