"""A real tritonserver with one real Python model, as a service of the supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.settings import Settings
from launch.descendants import command_line, marked_processes
from launch.health.stubs import stub_model
from launch.kserve import Exposure, triton_access
from launch.service import Service
from launch.serving.model_control import Loadable
from launch.serving.options import ServeOptions
from launch.serving.run_directory import RunDirectory
from launch.serving.services import triton_service
from launch.tritonserver import ControlMode, find_tritonserver
from triton_repo.contract.api_key import KSERVE_KEY_VARIABLE

CONFIG: Final = """
name: "echo" backend: "python" max_batch_size: 0
model_transaction_policy { decoupled: true }
input { name: "x" data_type: TYPE_INT32 dims: [-1] }
output { name: "y" data_type: TYPE_INT32 dims: [-1] }
instance_group { kind: KIND_CPU count: 1 }
"""
MODEL: Final = """
import sys
class TritonPythonModel:
    def initialize(self, args):
        print("echo runs in", sys.prefix, flush=True)
    def execute(self, requests):
        return None
"""
KSERVE_KEY: Final = "canary-7713-kserve-key"

MakeTriton = Callable[..., Service]


def echo_triton(
    directory: Path,
    ports: tuple[int, int, int],
    model: str = MODEL,
    *,
    exposed: bool = False,
    without_key: bool = False,
    others: Mapping[str, str] | None = None,
    control: ControlMode | None = None,
) -> Service:
    """`ports` are those of HTTP, gRPC and metrics; `others` has the code of engines beside `echo`, by name."""
    run = directory / "run"
    programs = {"echo": model, **(others or {})}
    repositories = {name: directory / name for name in programs}
    for name, program in programs.items():
        write_model(repositories[name] / name, program)
    http, grpc, metrics = ports
    exposure = Exposure(http, grpc, exposed, without_key)
    options = ServeOptions(("echo",), Settings(), exposure, metrics, model_control=control)
    (run / "heartbeats").mkdir(parents=True)
    installation = find_tritonserver(os.environ)
    access = triton_access(options.kserve, run, {KSERVE_KEY_VARIABLE: KSERVE_KEY})
    return triton_service(options, RunDirectory(run), Loadable(repositories, (), lambda _: None), installation, access)


def write_model(directory: Path, program: str) -> None:
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(CONFIG.replace("echo", directory.name), encoding="utf-8")
    (directory / "1/model.py").write_text(program, encoding="utf-8")


def processes(triton: Service) -> dict[str, int]:
    """The server and its stub, by role."""
    commands = {pid: command_line(pid) for pid in marked_processes(triton.mark)}
    return {"stub" if stub_model(command) == "echo" else "server": pid for pid, command in commands.items() if command}


def address(triton: Service) -> str:
    return triton.live_url.removesuffix("/v2/health/live")
