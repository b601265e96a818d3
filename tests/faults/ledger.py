"""What a server holds when nothing is asked of it: it must be the same before and after a fault."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from launch.health.stubs import stub_model
from tests.faults.streams import WAIT_S
from tests.launch.server import Server, regions

PROC = Path("/proc")
_LOAD = {"conch_engine_requests", "conch_engine_kv_cache_utilization", "conch_requests_in_flight"}
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_RANDOM = re.compile(r"(?<=-)\w{8}(?=/|$)")  # what tempfile puts behind a prefix
_SPREAD = 8  # files and threads that come and go: connections that are kept, pools that grow


@dataclass(frozen=True)
class Baseline:
    """Of all processes of a server: how many there are of each kind, their threads and open files, the names in
    /dev/shm and in the run directory, and what gateway and engine count as open."""

    processes: dict[str, int]
    threads: int
    files: int
    shm_names: int
    run_files: tuple[str, ...]
    load: dict[str, float]

    def differences(self, before: Baseline) -> dict[str, object]:
        """What has grown, or is not the same where it must be: name -> before and now."""
        now, then = asdict(self), asdict(before)
        spread = {"threads": _SPREAD, "files": _SPREAD, "shm_names": 0}
        return {
            name: (then[name], now[name])
            for name in now
            if (now[name] > then[name] + spread[name] if name in spread else now[name] != then[name])
        }


def settled(server: Server) -> Baseline:
    """Once nothing is open any more; raises AssertionError with the load if that does not come about."""
    deadline = time.monotonic() + WAIT_S
    while any((load := _load(server)).values()):
        assert time.monotonic() < deadline, load
        time.sleep(0.1)
    return baseline(server)


def baseline(server: Server) -> Baseline:
    processes = server.descendants()
    names = Counter(_kind(tuple(command.decode().split("\0")[:-1])) for command in processes.values())
    run_files = [
        _RANDOM.sub("*", path.relative_to(server.directory).as_posix()) for path in server.directory.glob("conch-*/*")
    ]
    return Baseline(
        processes=dict(sorted(names.items())),
        threads=sum(_count(pid, "task") for pid in processes),
        files=sum(_count(pid, "fd") for pid in processes),
        shm_names=len(regions(server.shm_prefix())),
        run_files=tuple(sorted(run_files)),
        load=_load(server),
    )


def ended(server: Server) -> dict[str, float]:
    """Requests that ended, as the engines count them, by outcome."""
    return _by_label(_series(server.ports[3], {"conch_engine_requests_ended_total"}), "outcome")


def answered(server: Server) -> dict[str, float]:
    """Requests that ended, as the gateway counts them, by finish reason."""
    return _by_label(_series(server.ports[0], {"conch_requests_total"}), "finish_reason")


def of_triton(server: Server, model: str) -> dict[str, float]:
    """Requests to a model that ended, as Triton counts them: success, or the reason of a failure."""
    success = _series(server.ports[3], {"nv_inference_request_success"})
    failure = _series(server.ports[3], {"nv_inference_request_failure"})
    counts = {"success": sum(count for name, count in success.items() if f'model="{model}"' in name)}
    return counts | _by_label({name: it for name, it in failure.items() if f'model="{model}"' in name}, "reason")


def _by_label(series: dict[str, float], label: str) -> dict[str, float]:
    counts = Counter[str]()
    for name, count in series.items():
        counts[dict(_LABEL.findall(name))[label]] += int(count)
    return {name: float(count) for name, count in counts.items()}


def _load(server: Server) -> dict[str, float]:
    return _series(server.ports[3], _LOAD) | _series(server.ports[0], _LOAD)


def _series(port: int, names: set[str]) -> dict[str, float]:
    try:
        body = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:  # it is being started
        return {"unreachable": 1.0}
    lines = [line.rpartition(" ") for line in body.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in lines if series.partition("{")[0] in names}


def _kind(command: tuple[str, ...]) -> str:
    return stub_model(command) or (" ".join(command[1:3]) if "python" in command[0] else Path(command[0]).name)


def _count(pid: int, what: str) -> int:
    try:
        return len(list((PROC / str(pid) / what).iterdir()))
    except OSError:
        return 0
