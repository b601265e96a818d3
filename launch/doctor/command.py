"""`conch doctor`: what this machine has, what it lacks, and what to do about it.

Each check is a function of values that a probe has read: packages, triton_server, gpus, limits, host, engines,
shared_memory, server, ports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import typer
from rich.console import Console

from launch.doctor import engines, gpus, host, limits, packages, ports, server, shared_memory, triton_server
from launch.doctor.finding import Finding
from launch.doctor.report import as_json, print_table
from triton_repo.contract.api_key import API_KEY_VARIABLE, check_api_key
from triton_repo.contract.gpu import installed_gpus

GATEWAY_PORT = "--port"


def doctor(ports_by_flag: Mapping[str, int], *, for_machines: bool = False) -> bool:
    """Print what is found; True if there is no error. `ports_by_flag`: of the gateway and Triton.

    Raises:
        LaunchError: CONCH_API_KEY is one that no server could be asked with.
    """
    found = tuple(findings(ports_by_flag))
    if for_machines:
        typer.echo(as_json(found))
    else:
        print_table(found, Console())
    return not any(finding.severity == "error" for finding in found)


def findings(ports_by_flag: Mapping[str, int]) -> Iterator[Finding]:
    from build_scripts.spec.reading import ENGINES

    api_key = check_api_key(os.environ.get(API_KEY_VARIABLE))
    installed = installed_gpus()
    yield from packages.findings()
    yield from triton_server.findings()
    yield from gpus.findings(installed)
    built, broken = engines.read_engines(ENGINES / "built")
    yield from limits.findings(sum(engine.host_bytes for engine in built), has_gpu=installed.count > 0)
    yield from host.findings()
    yield from engines.findings(ENGINES / "built", built, broken)
    yield from shared_memory.findings(sum(engine.steps for engine in built))
    running = server.running_server(ports_by_flag[GATEWAY_PORT], api_key)
    yield from server.findings(running)
    yield from ports.findings(ports_by_flag, _ours(running, ports_by_flag))


def _ours(running: server.RunningServer | None, ports_by_flag: Mapping[str, int]) -> Mapping[int, str]:
    """The ports that a running Conch has: the gateway's, and those of its Triton."""
    if running is None:
        return {}
    gateway = ports_by_flag[GATEWAY_PORT]
    return {gateway: "of the server above"} | {
        port: f"of Triton, process {program.pid}"
        for port in ports_by_flag.values()
        if port != gateway and (program := ports.listening(port)) and "tritonserver" in program.command[0]
    }
