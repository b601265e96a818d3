"""A Conch that runs on this machine: whether it is healthy, its version, and who can read its files of keys."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from launch.doctor.finding import Finding, error, warning
from launch.doctor.ports import Program, listening
from triton_repo.contract.api_key import API_KEY_VARIABLE
from triton_repo.contract.distribution import conch_version
from triton_repo.contract.http_probe import ProbeAnswer, probe
from triton_repo.model_repository import OLDEST_TRITON

_KEY_FILES: Final = ("--api-keys-file", "--tls-key")  # flags of the gateway; the store makes its own files private
_OTHERS: Final = stat.S_IRWXO
_STATES: Final = ("ready", "not ready")  # of Conch's /health/ready; other servers have other words


@dataclass(frozen=True, slots=True)
class RunningServer:
    """What answers on the gateway's port: `version`, `ready` and the version of its `triton` are its own words."""

    url: str
    version: str | None
    ready: bool
    reason: str
    program: Program | None
    triton: str | None = None


def running_server(port: int, api_key: str | None = None) -> RunningServer | None:
    """None where no Conch answers there, with TLS or without. The key, if it has keys, is for its version."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    for url in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}"):
        ready = probe(f"{url}/health/ready")
        state = _parsed(ready)
        if ready is not None and state.get("status") in _STATES:
            told = _parsed(probe(f"{url}/version", headers=headers))
            reason = str(state.get("reason", ""))
            is_ready = ready.status == 200
            return RunningServer(url, told.get("version"), is_ready, reason, listening(port), told.get("triton"))
    return None


def findings(server: RunningServer | None) -> Iterator[Finding]:
    if server is None:
        yield Finding("server", "none runs")
        return
    yield check_health(server)
    yield check_version(server.version, conch_version())
    yield check_triton(server.triton)
    if server.program is not None:
        for flag, file in files_of(server.program.command).items():
            yield check_key_file(flag, file)


def check_health(server: RunningServer) -> Finding:
    if not server.ready:
        todo = "wait if it starts; else the log of conch serve says why, and docs/runbook.md what to do"
        return error("server", f"{server.url} is not ready: {server.reason}", todo)
    return Finding("server", f"{server.url} is ready")


def check_version(runs: str | None, here: str) -> Finding:
    """`runs` is None where /version asks for another key."""
    if runs is not None and runs != here:
        return warning("server version", f"{runs}; this checkout is {here}", "start it again to run this version")
    return Finding("server version", runs or f"not told without {API_KEY_VARIABLE}")


def check_triton(runs: str | None) -> Finding:
    """Whether it can run the models of this version's repositories."""
    if runs is None:
        return Finding("its Triton", f"of a version that is not told without {API_KEY_VARIABLE}, or while it starts")
    numbers = tuple(int(part) for part in runs.split(".") if part.isdecimal())[:2]
    if numbers < OLDEST_TRITON:
        need = ".".join(map(str, OLDEST_TRITON))
        return error(
            "its Triton", f"{runs}; the models of this version need {need} or later", "docs/gpu.md: the images"
        )
    return Finding("its Triton", runs)


def files_of(command: Sequence[str]) -> Mapping[str, Path]:
    """The files of keys that a gateway was started with, by their flags."""
    return {flag: Path(value) for flag, value in itertools.pairwise(command) if flag in _KEY_FILES}


def check_key_file(flag: str, file: Path) -> Finding:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as failure:
        return error(flag, f"{file}: {failure.strerror}", "the server keeps what it has read; a start would fail")
    if mode & _OTHERS:
        return warning(flag, f"{file}: every account can use it (mode {mode:o})", f"chmod o= {file}")
    return Finding(flag, f"{file}: mode {mode:o}")


def _parsed(answer: ProbeAnswer | None) -> Mapping[str, Any]:
    try:
        found = json.loads(answer.body) if answer else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
