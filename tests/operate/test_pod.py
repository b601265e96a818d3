"""The containers of the chart with the file system that it gives them: all read-only but what is mounted to be written.

There is no container here: a mount namespace with a read-only root stands for it, without any capability, with the
arguments and the environment of the rendered pod. Its places lie in a temporary directory instead of at the root.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conftest import CONCH, ROOT, free_port
from tests.launch.replay_engine import write_spec
from tests.operate.chart import Manifest, of_kind, render
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.operate,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, for mounts of its own"),
]

WAIT_S: Final = 240
HERE: Final = "/mnt"
TMPFS: Final = ("/dev/shm", "/tmp")  # noqa: S108 - Triton wants these two by name
SPEC: Final = "engines/of-the-chart.toml"


class Pod:
    """The one container of a pod. `directory` lies at HERE in it, and holds what the pod has at its root."""

    def __init__(self, spec: Manifest, directory: Path, spec_file: str = "") -> None:
        (self._container,) = spec["containers"]
        self._directory = directory
        self._spec_file = spec_file

    def argv(self) -> list[str]:
        return [*self.in_it(), str(CONCH), *(self._here(each) for each in self._container["args"])]

    def in_it(self) -> list[str]:
        """What runs a command in the pod."""
        script = "\n".join(["set -e", *self._mounts(), 'exec "$@"'])
        apart = ("unshare", "--mount", "--propagation=private", "sh", "-c", script, "pod")
        return [*apart, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]

    def environment(self) -> dict[str, str]:
        own = {each["name"]: self._here(each["value"]) for each in self._container["env"]}
        return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **own}

    def _mounts(self) -> Iterator[str]:
        """Each place a mount of its own, then the root read-only, which leaves other mounts as they are."""
        yield f"mount --bind {self._directory} {HERE}"
        for mount in self._container["volumeMounts"]:
            path = mount["mountPath"]
            if path in TMPFS:
                yield from _new_tmpfs(path)
            elif not path.endswith(".toml"):
                here = self._here(path)
                yield f"mkdir -p {here}; mount --bind {here} {here}"
                if mount.get("readOnly"):
                    yield f"mount -o remount,ro,bind {here}"
        yield f"mount -o remount,ro,bind {HERE}"
        yield "mount -o remount,ro,bind /"

    def _here(self, text: str) -> str:
        if text == SPEC:
            return self._spec_file
        return re.sub(r"(?<![\w/.])/(engines|cache)\b", rf"{HERE}/\1", text)


def _new_tmpfs(path: str) -> Iterator[str]:
    """At `path`; a checkout that lies below it stays where it is."""
    below = ROOT.is_relative_to(path)
    if below:
        yield f"mkdir -p {HERE}/checkout; mount --bind {ROOT} {HERE}/checkout"
    yield f"mount -t tmpfs -o size=1g,mode=1777 tmpfs {path}"
    if below:
        yield f"mkdir -p {ROOT}; mount --bind {HERE}/checkout {ROOT}"


@contextmanager
def running(pod: Pod, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(pod.argv(), cwd=ROOT, env=pod.environment(), stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(WAIT_S)


def succeed(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.wait(WAIT_S) == 0, log.read_text(encoding="utf-8")


def is_ready(url: str, paths: Sequence[str]) -> bool:
    try:
        return all(httpx.get(f"{url}{path}").status_code == 200 for path in paths)
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("model", ["tale", "demo"])
def test_the_job_builds_and_the_pod_serves_with_everything_else_read_only(tmp_path: Path, model: str) -> None:
    spec_file = write_spec(tmp_path)
    spec = spec_file.read_text(encoding="utf-8").replace('"checkpoint"', f'"{HERE}/checkpoint"')
    if model == "demo":
        spec = (ROOT / "engines" / "demo.toml").read_text(encoding="utf-8")
        spec = spec.replace('"demo/checkpoint"', f'"{ROOT}/engines/demo/checkpoint"')
    spec_file.write_text(spec, encoding="utf-8")
    port, metrics_port = free_port(), free_port()
    gateway: dict[str, Any] = {"port": port, "extraArgs": [f"--triton-metrics-port={metrics_port}"]}
    manifests = render({"engine": {"spec": spec}, "gateway": gateway, "drain": {"graceS": 5}})
    job, server = (of_kind(manifests, kind)["spec"]["template"]["spec"] for kind in ("Job", "Deployment"))

    log = tmp_path / "build.log"
    with running(Pod(job, tmp_path, f"{HERE}/{spec_file.name}"), log) as build:
        succeed(build, log)
    (container,) = server["containers"]
    assert (tmp_path / container["args"][1].removeprefix("/") / "manifest.json").is_file()

    log = tmp_path / "serve.log"
    url = f"http://127.0.0.1:{port}"
    probes = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    with running(Pod(server, tmp_path), log) as serve:
        wait_for(lambda: serve.poll() is not None or is_ready(url, probes), lambda: log.read_text(encoding="utf-8"))
        assert serve.poll() is None, log.read_text(encoding="utf-8")
        answer = httpx.post(f"{url}/v1/completions", json={"model": model, "prompt": "x", "max_tokens": 4})
        assert answer.status_code == 200, answer.text
        assert httpx.get(f"{url}/metrics").status_code == 200
        serve.send_signal(signal.SIGTERM)
        succeed(serve, log)


def test_a_place_that_is_not_mounted_cannot_be_written_to(tmp_path: Path) -> None:
    """That the read-only root is one."""
    pod = of_kind(render({}), "Deployment")["spec"]["template"]["spec"]
    for path, status in (("engines/x", 1), ("x", 1), ("cache/x", 0)):
        writing = [*Pod(pod, tmp_path).in_it(), "touch", f"{HERE}/{path}"]
        assert subprocess.run(writing, capture_output=True, check=False).returncode == status, path
