"""One node of a job: serve here, and keep the lists of all servers of the job.

    srun python node.py --servers DIRECTORY -- ENGINE [flags of `conch serve`]

Each node writes `nodes/NAME.json` once its server is ready and removes it before that drains. The first node of the job
asks every server that is listed there whether it is ready, and replaces the lists whenever that changes:

    endpoints.yaml   the gateways, for the file discovery of llm-d-router (its docs/discovery.md)
    servers.txt      Triton's gRPC services, for `python -m gateway --triton-servers-file`; empty without
                     CONCH_KSERVE_KEY

Ports are free ones of the node, so that jobs may share it. Nothing but Python's standard library is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Final

KSERVE_KEY_VARIABLE: Final = "CONCH_KSERVE_KEY"
_POLL_S: Final = 1.0
_HEALTH_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True)
class Node:
    """A server of the job: where its gateway is, and Triton's gRPC service if it is open."""

    name: str
    address: str
    port: int
    grpc_port: int | None
    engine: str
    job: str

    @property
    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}:{self.port}/health/ready", timeout=_HEALTH_TIMEOUT_S):
                return True
        except (urllib.error.URLError, OSError):
            return False


class Lists:
    """The files in the directory that the nodes of a job share."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._nodes = directory / "nodes"
        self._nodes.mkdir(parents=True, exist_ok=True)

    def add(self, node: Node) -> None:
        _replace(self._file(node), json.dumps(asdict(node)))

    def remove(self, node: Node) -> None:
        self._file(node).unlink(missing_ok=True)

    def write(self) -> None:
        """The lists of the servers that are ready now, if they are others than those written before."""
        files = sorted(self._nodes.glob("*.json"))
        listed = [Node(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
        ready = [node for node in listed if node.is_ready]
        for name, text in {"endpoints.yaml": endpoints(ready), "servers.txt": servers(ready)}.items():
            file = self._directory / name
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                _replace(file, text)

    def _file(self, node: Node) -> Path:
        return self._nodes / f"{node.name}.json"


def endpoints(nodes: Iterable[Node]) -> str:
    """The endpoints file of llm-d's file discovery; it takes JSON, and YAML, of which JSON is a part."""
    return json.dumps(
        {
            "endpoints": [
                {
                    "name": node.name,
                    "address": node.address,
                    "port": str(node.port),
                    "labels": {
                        "llm-d.ai/engine-type": "triton-tensorrt-llm",
                        "model": node.engine,
                        "slurm-job": node.job,
                    },
                }
                for node in nodes
            ]
        },
        indent=2,
    )


def servers(nodes: Iterable[Node]) -> str:
    return "".join(f"{node.address}:{node.grpc_port}\n" for node in nodes if node.grpc_port is not None)


def _replace(file: Path, text: str) -> None:
    """A reader sees the old file or the new one."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def serve_command(node: Node, conch: str, flags: Sequence[str], ports: Sequence[int]) -> list[str]:
    http, metrics = map(str, ports)
    command = [conch, "serve", *flags, "--host", node.address, "--port", str(node.port)]
    command += ["--triton-metrics-port", metrics, "--allowed-hosts", node.name]
    if node.grpc_port is not None:
        command += ["--expose-kserve", "--kserve-host", node.address]
        command += ["--triton-grpc-port", str(node.grpc_port), "--triton-http-port", http]
    return command


def free_ports(num: int) -> list[int]:
    listeners = [socket.create_server(("", 0)) for _ in range(num)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def run(node: Node, command: Sequence[str], lists: Lists, *, keeps_lists: bool) -> int:
    """Serve until a signal or the server's own end; its exit status."""
    keep = lists.write if keeps_lists else lambda: None
    server = subprocess.Popen(command)
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    was_listed = False
    while server.poll() is None and not stopping:
        if not was_listed and node.is_ready:
            lists.add(node)
            was_listed = True
        keep()
        time.sleep(_POLL_S)
    lists.remove(node)
    time.sleep(_POLL_S)  # Slurm signals the server itself too, and a second signal would end its grace
    if server.poll() is None and (node.is_ready or not was_listed):
        server.terminate()
    while server.poll() is None:
        keep()
        time.sleep(_POLL_S)
    keep()
    return server.wait()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("node.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--servers", type=Path, required=True, help="directory of the lists, shared by all nodes")
    parser.add_argument("--address", help="IPv4 address of this node for the others (default: that of its host name)")
    parser.add_argument("--conch", default=str(Path(sys.executable).with_name("conch")), help="the command")
    parser.add_argument("flags", nargs="+", metavar="ENGINE", help="engines and flags of `conch serve`, after --")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    port, grpc_port, *others = free_ports(4)
    node = Node(
        name=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        address=options.address or socket.gethostbyname(socket.gethostname()),
        port=port,
        grpc_port=grpc_port if os.environ.get(KSERVE_KEY_VARIABLE) else None,
        engine=Path(options.flags[0]).stem,
        job=os.environ.get("SLURM_JOB_ID", ""),
    )
    command = serve_command(node, options.conch, options.flags, others)
    return run(node, command, Lists(options.servers), keeps_lists=os.environ.get("SLURM_PROCID", "0") == "0")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
