"""A job of a real Slurm on loopback: two nodes, a server on each, and the lists that routers read."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import KSERVE_KEY, ROOT, free_port
from tests.gateway.gateway_process import running
from tests.waiting import wait_for
from triton_repo.contract.api_key import KSERVE_KEY_VARIABLE

pytestmark = pytest.mark.operate

WAIT_S = 300
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=60
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES State=UP
"""


@contextmanager
def daemon(*command: str, log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait(WAIT_S)


class Slurm:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "SLURM_CONF": str(directory / "slurm.conf")}

    def call(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout

    def state(self, job: str) -> str:
        return self.call("squeue", "--noheader", "--format=%T", "--states=all", f"--jobs={job}").strip()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.fail(f"{', '.join(missing)} missing: apt-get install slurmctld slurmd slurm-client munge")
    directory = tmp_path_factory.mktemp("slurm")
    directory.chmod(0o755)  # munged refuses others
    for name in ("state", "spool-n1", "spool-n2"):
        (directory / name).mkdir()
    configuration = CONFIGURATION.format(
        host=socket.gethostname().split(".")[0], ports=[free_port() for _ in range(3)], directory=directory
    )
    (directory / "slurm.conf").write_text(configuration, encoding="utf-8")
    key = directory / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    slurm = Slurm(directory)
    munge = ["munged", "--force", "--foreground", f"--key-file={key}", f"--socket={directory}/munge.socket"]
    munge += [f"--{name}={directory}/munge.{name}" for name in ("pid-file", "log-file", "seed-file")]
    commands = (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"])
    with ExitStack() as daemons:
        for number, command in enumerate(commands):
            log = directory / f"{number}-{command[0]}.log"
            daemons.enter_context(daemon(*command, log=log, environment=slurm.environment))
        log_texts = lambda: "\n".join(log.read_text(errors="replace") for log in directory.glob("*.log"))  # noqa: E731
        wait_for(lambda: slurm.call("sinfo", "--noheader", "--format=%A").startswith("0/2"), log_texts)
        yield slurm


def test_a_job_serves_on_every_node_and_lists_what_is_ready(slurm: Slurm, tmp_path: Path) -> None:
    slurm.environment |= {
        KSERVE_KEY_VARIABLE: KSERVE_KEY,
        "CONCH_SERVERS": str(tmp_path),
        "CONCH_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
        "CONCH_NODE_FLAGS": "--address 127.0.0.1",  # both nodes are this machine
    }
    output = tmp_path / "job.log"
    script = ("deploy/slurm/conch.sbatch", "replay", "--shutdown-grace-s", "60")
    job = slurm.call("sbatch", "--parsable", "--nodes=2", f"--output={output}", *script).strip()

    def listed() -> list[str]:
        file = tmp_path / "servers.txt"
        return file.read_text(encoding="utf-8").split() if file.is_file() else []

    wait_for(lambda: len(listed()) == 2, lambda: output.read_text(encoding="utf-8"))
    endpoints = yaml.safe_load((tmp_path / "endpoints.yaml").read_text(encoding="utf-8"))["endpoints"]
    assert [endpoint["name"] for endpoint in endpoints] == ["n1", "n2"]
    for endpoint in endpoints:
        assert endpoint["labels"] == {
            "llm-d.ai/engine-type": "triton-tensorrt-llm", "model": "replay", "slurm-job": job
        }  # fmt: skip
        models = httpx.get(f"http://{endpoint['address']}:{endpoint['port']}/v1/models").json()
        assert [model["id"] for model in models["data"]] == ["replay"]

    body = {"model": "replay", "prompt": "x", "max_tokens": 300, "ignore_eos": True}
    with running("--triton-grpc", "--triton-servers-file", str(tmp_path / "servers.txt")) as gateway:
        assert httpx.post(f"{gateway.url}/v1/completions", json=body).json()["usage"]["completion_tokens"] == 300
    url = f"http://{endpoints[0]['address']}:{endpoints[0]['port']}/v1/completions"
    with httpx.stream("POST", url, json={**body, "stream": True}) as response:
        lines = response.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["object"] == "text_completion"
        slurm.call("scancel", job)
        *_, last = [line for line in lines if line]
    assert last == "data: [DONE]", "a server that is told to stop ends what its gateway has"
    wait_for(lambda: slurm.state(job) in {"COMPLETED", "CANCELLED", "FAILED", ""}, lambda: slurm.state(job))
    assert listed() == []
