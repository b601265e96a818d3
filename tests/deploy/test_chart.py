"""The Helm chart says of Conch what Conch says of itself. (What Helm makes of it: tests/operate.)"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
import jsonschema_rs
import pytest
import typer
import yaml
from fastapi import FastAPI

from build_scripts.spec.reading import read_spec
from gateway.endpoints.health import add_health
from gateway.settings import Settings
from launch.cli import app
from launch.serving.services import GATEWAY_STOP_MARGIN_S, TRITON_STOP_MARGIN_S
from launch.shared_memory import SHM_PER_STEP
from launch.tritonserver import ServerOptions
from tests.docker.dockerfile import IMAGES, last
from triton_repo.contract.api_key import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.steps import STEPS

HELM: Final = Path(__file__).parents[2] / "deploy" / "helm"
CHART: Final = HELM / "conch"
TEMPLATES: Final = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir()}
SCHEMA: Final = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS: Final = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
EXAMPLES: Final = sorted((HELM / "values").glob("*.yaml"))
OF_PARENTS: Final = {"global"}  # Helm hands it to every chart


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """As Helm lays values over the chart's own."""
    both = {key: merged(base[key], own[key]) for key in base.keys() & own.keys() if isinstance(base[key], dict)}
    return {**base, **own, **both}


def flags_of(verb: str) -> set[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    return {flag for each in group.commands[verb].params for flag in (*each.opts, *each.secondary_opts)}


def differing_keys(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> list[str]:
    """Keys that only the values or only the schema has."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("additionalProperties") is not False:
        return []
    known = schema["properties"]
    if path.endswith("Probe."):  # Kubernetes has defaults of its own
        known = {key: known[key] for key in known if key in values}
    differ = [path + key for key in (known.keys() ^ values.keys()) - OF_PARENTS]
    for key in known.keys() & values.keys():
        if isinstance(values[key], dict):
            differ += differing_keys(values[key], known[key], f"{path}{key}.")
    return differ


def test_the_schema_knows_every_value_and_no_other() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert differing_keys(DEFAULTS, SCHEMA) == []
    assert jsonschema_rs.is_valid(SCHEMA, DEFAULTS)
    assert not jsonschema_rs.is_valid(SCHEMA, {**DEFAULTS, "replicas": 1})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_values_of_the_chart(example: Path) -> None:
    values = merged(DEFAULTS, yaml.safe_load(example.read_text(encoding="utf-8")))
    assert list(jsonschema_rs.iter_errors(SCHEMA, values)) == []
    assert values["image"]["repository"].removeprefix("conch-") in {image.stem for image in IMAGES}


def test_every_flag_of_the_chart_is_one_of_the_command() -> None:
    given = set(re.findall(r"^- .*?(--[a-z-]+)", TEMPLATES["_server.tpl"], re.MULTILINE)) | {"--access-log"}
    given |= set(re.findall(r"--no-[a-z-]+", TEMPLATES["_server.tpl"]))
    assert {"--host", "--shutdown-grace-s", "--api-keys-file", "--tls-key", "--no-access-log"} <= given
    assert given <= flags_of("serve")
    assert "--output-dir" in TEMPLATES["build.yaml"]
    assert "--output-dir" in flags_of("build")


def test_the_default_settings_are_those_of_the_gateway() -> None:
    gateway, settings = DEFAULTS["gateway"], Settings()
    assert gateway["port"] == settings.port
    assert gateway["workers"] == settings.workers
    assert gateway["requestTimeoutS"] == settings.request_timeout_s
    assert gateway["queueTimeoutS"] == settings.queue_timeout_s
    assert gateway["keepAliveTimeoutS"] == settings.keep_alive_timeout_s
    assert gateway["hangTimeoutS"] == settings.hang_timeout_s


def test_the_probes_ask_paths_that_the_gateway_has() -> None:
    application = FastAPI()
    add_health(application)
    known = set(application.openapi()["paths"])
    asked = set(re.findall(r'"path" "([^"]+)"', TEMPLATES["_server.tpl"])) | {"/metrics"}
    assert asked == {"/health/ready", "/health/live", "/metrics"}
    assert asked <= known


def test_a_pod_is_given_the_time_that_a_drain_takes() -> None:
    (margin,) = re.findall(r"addf \.Values\.drain\.preStopS \.Values\.drain\.graceS (\d+)", TEMPLATES["_server.tpl"])
    (exit_timeout,) = [each for each in fields(ServerOptions) if each.name == "exit_timeout_s"]
    assert isinstance(exit_timeout.default, int)
    assert int(margin) >= GATEWAY_STOP_MARGIN_S + exit_timeout.default + TRITON_STOP_MARGIN_S
    operations = (HELM.parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"It must wait {margin} s longer than the grace" in operations


def test_keys_reach_the_server_in_its_environment_alone() -> None:
    server = TEMPLATES["_server.tpl"]
    assert f'dict "{API_KEY_VARIABLE}" $gateway.apiKey "{ADMIN_KEY_VARIABLE}" $gateway.adminKey' in server
    assert not any(re.search(r"--api-key\b(?!s)", text) for text in TEMPLATES.values())


def test_the_default_spec_is_one_and_has_room_in_shared_memory(tmp_path: Path) -> None:
    spec = tmp_path / "of-the-chart.toml"
    spec.write_text(DEFAULTS["engine"]["spec"], encoding="utf-8")
    assert read_spec(spec).name == "demo"
    assert DEFAULTS["shm"]["sizeLimit"] == "2Gi"
    assert len(STEPS) * SHM_PER_STEP < 2 << 30


def test_paths_and_user_are_those_of_the_images() -> None:
    user = DEFAULTS["podSecurityContext"]
    spec = "/opt/conch/engines/of-the-chart.toml"
    assert f"mountPath: {spec}" in TEMPLATES["build.yaml"]
    for image in IMAGES:
        if image.stem == "gateway":
            continue
        assert last(image, "WORKDIR") == "/opt/conch"
        assert last(image, "USER") == f"{user['runAsUser']}:{user['runAsGroup']}"


def test_serving_waits_for_the_file_that_is_written_last() -> None:
    name = EngineDirectory(Path("engine")).manifest_file.name
    assert f'test -f "$1/{name}"' in TEMPLATES["_server.tpl"]
