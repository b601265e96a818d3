"""deploy/monitoring, checked by promtool and by a real Prometheus that scrapes a real Conch under load."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.monitoring.generate import FILES
from deploy.monitoring.table import ALERTS, RATE, RECORDINGS, ROWS
from tests.conftest import ROOT, Stack
from tests.fake_nvml import install_gpu_for_children
from tests.gateway.bodies import CHAT, HELLO
from tests.gateway.gateway_process import running
from tests.operate.monitoring.prometheus import DEPLOYED, Prometheus, program, prometheus

pytestmark = pytest.mark.operate
QUERIES = [(panel.title, query) for row in ROWS for panel in row.panels for _, query in panel.queries]


def promtool(*arguments: str) -> None:
    done = subprocess.run([program("promtool"), *arguments], cwd=DEPLOYED, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "rules.yml")


def test_alerts_fire_when_they_should_and_not_else() -> None:
    promtool("test", "rules", "rules_test.yml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path](), "run python -m deploy.monitoring.generate"


def test_the_dashboard_and_its_data_source_agree() -> None:
    board = json.loads((DEPLOYED / "grafana/dashboards/conch.json").read_text(encoding="utf-8"))
    source = (DEPLOYED / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    uids = {panel["datasource"]["uid"] for panel in board["panels"] if panel["type"] != "row"}
    assert len(uids) == 1
    assert f"uid: {uids.pop()}" in source


@pytest.fixture(scope="module")
def watched(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A gateway with two workers, a store, a certificate and a GPU that reports, under load, and its Prometheus."""
    directory = tmp_path_factory.mktemp("monitoring")
    triton = ("--triton-grpc", stack.triton_grpc, "--triton-metrics", stack.triton_metrics.removeprefix("http://"))
    flags = (*triton, "--workers", "2", "--store", str(directory / "store.db"))
    with pytest.MonkeyPatch.context() as patch:
        install_gpu_for_children(patch, directory)
        with running(*flags) as gateway:
            stop = threading.Event()
            clients = [threading.Thread(target=_load, args=(gateway.url, stop)) for _ in range(3)]
            for client in clients:
                client.start()
            try:
                with prometheus(gateway.url.removeprefix("http://"), directory) as server:
                    yield server
            finally:
                stop.set()
                for client in clients:
                    client.join()


def _load(url: str, stop: threading.Event) -> None:
    """Streams, whole answers, and requests that are rejected, by both engines."""
    body: dict[str, Any] = {"messages": [HELLO], "max_tokens": 24}
    while not stop.wait(0.05):
        for model in ("demo", "replay"):
            httpx.post(url + CHAT, json={**body, "model": model, "stream": True})
            httpx.post(url + CHAT, json={**body, "model": model})
        httpx.post(url + CHAT, json={**body, "model": "no such model"})


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_every_panel_shows_data_of_a_real_run(watched: Prometheus, title: str, query: str) -> None:
    result = watched.wait_for(query.replace(RATE, "10s"))
    assert all(sample["value"][1] != "" for sample in result), title


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda one: one.name)
def test_every_recorded_series_has_data(watched: Prometheus, recording: Any) -> None:
    ((_, value),) = [sample["value"] for sample in watched.wait_for(recording.name)]
    assert 0 <= float(value) <= 1


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_every_alert_looks_at_data(watched: Prometheus, alert: Any) -> None:
    if alert.name == "ConchCertificateEnds":
        pytest.skip("needs TLS; the series has a test of its own")
    for value, _ in alert.values:
        watched.wait_for(value)


def test_no_alert_fires_while_all_is_well(watched: Prometheus) -> None:
    watched.wait_for("conch:errors:ratio5m")
    firing = watched.query('ALERTS{alertstate="firing"}')
    assert firing == [], firing


def test_the_runbook_has_a_section_for_each_alert() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    for alert in ALERTS:
        assert f"## {alert.name}\n" in text
        assert alert.causes


def test_commands_of_the_runbook_are_there() -> None:
    for program_name in {command.split()[0] for alert in ALERTS for _, command in alert.causes} - {"conch", "python"}:
        assert shutil.which(program_name) or program_name in {"journalctl", "systemctl"}, program_name
