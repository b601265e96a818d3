"""Debian's own Prometheus, scraping one gateway every half second."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import ROOT, free_port

DEPLOYED = ROOT / "deploy" / "monitoring"
_WAIT_S = 120


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: apt-get install prometheus")
    return path


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Its result, once it has one."""
        deadline = time.monotonic() + _WAIT_S
        while not (result := self.query(expression)):
            assert time.monotonic() < deadline, f"no data for {expression}"
            time.sleep(0.5)
        return result


@contextmanager
def prometheus(target: str, directory: Path) -> Iterator[Prometheus]:
    """With the deployed configuration, but for its target and its intervals."""
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    (job,) = config["scrape_configs"]
    job |= {"static_configs": [{"targets": [target]}]}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shutil.copy(DEPLOYED / "rules.yml", directory)
    port = free_port()
    argv = [program("prometheus"), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    argv += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            running = Prometheus(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + _WAIT_S
            while not _is_ready(running.url):
                assert server.poll() is None, (directory / "log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield running
        finally:
            server.terminate()
            server.wait(_WAIT_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False
