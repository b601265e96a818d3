"""The Helm chart, rendered by Helm and held against the schemas of Kubernetes and of the custom resources it makes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import helm_python
import pytest
import yaml

from tests.operate.chart import CHART, Manifest, of_kind, pod_specs, problems, render

pytestmark = pytest.mark.operate

ROOT: Final = CHART.parents[2]
ENGINES: Final = ROOT / "engines"
SPLIT: Final = """
name = "llama"
model = "org/llama"
runtime = "tensorrt_llm"
[build]
flow = "pytorch"
tensor_parallel = 8
pipeline_parallel = 2
"""


def example(name: str, spec: str | None = None) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART.parent / "values" / f"{name}.yaml").read_text(encoding="utf-8"))
    if spec is not None:
        values["engine"] = {**values.get("engine", {}), "spec": spec}
    return values


def spec_file(name: str) -> str:
    return (ENGINES / f"{name}.toml").read_text(encoding="utf-8")


EVERYTHING: Final[dict[str, Any]] = {
    "gateway": {
        "allowedHosts": ["llm.example.org"],
        "corsOrigins": ["https://chat.example.org"],
        "apiKey": {"existingSecret": "keys", "key": "one"},
        "adminKey": {"existingSecret": "keys", "key": "admin"},
        "apiKeysFile": {"existingSecret": "more-keys"},
        "tls": {"existingSecret": "cert"},
        "extraArgs": ["--max-file-bytes=1048576"],
        "ssePingIntervalS": 5,
        "aliases": {"gpt-4o-mini": "demo"},
        "otlpEndpoint": "http://collector:4318",
    },
    "models": {"repositories": ["/more/models"], "required": ["demo"], "control": "explicit"},
    "build": {"hfToken": {"existingSecret": "hf"}, "modelCache": {"existingClaim": "weights"}},
    "storage": {"storageClassName": "shared", "size": "1Ti"},
    "autoscaling": {"enabled": True},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}],
        "extraEgress": [{"ports": [{"port": 4317}]}],
    },
    "inferencePool": {"enabled": True, "endpointPicker": {"name": "picker"}},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["llm.example.org"]},
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"zone": "a"},
    "affinity": {"podAntiAffinity": {}},
    "tolerations": [{"operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "high",
    "schedulerName": "custom",
    "runtimeClassName": "nvidia",
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "a"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "startupProbe": {"initialDelaySeconds": 5},
}
NOTHING: Final[dict[str, Any]] = {
    "build": {"enabled": False},
    "storage": {"existingClaim": "engines"},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "serviceAccount": {"create": False, "name": "mine"},
    "drain": {"preStopS": 0, "graceS": 0},
}
MATRIX: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "cpu": example("cpu", spec_file("smollm2")),
    "gpu": example("gpu", SPLIT.replace("= 8", "= 1").replace("= 2", "= 1")),
    "gpus": example("gpus", spec_file("llama-3.1-8b")),
    "nodes": example("nodes", SPLIT),
    "encoder": {"engine": {"spec": spec_file("minilm")}},
    "everything": EVERYTHING,
    "everything over nodes": {**EVERYTHING, "engine": {"spec": SPLIT, "nodes": 4}, "multiNode": {"sshSecret": "ssh"}},
    "keda over nodes": {
        "engine": {"spec": SPLIT, "nodes": 2},
        "multiNode": {"sshSecret": "ssh"},
        "keda": {"enabled": True},
    },
    "route to the service": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]}},
    "nothing": NOTHING,
}


@pytest.mark.parametrize("case", MATRIX)
def test_kubernetes_takes_what_helm_renders(case: str) -> None:
    manifests = render(MATRIX[case])
    assert [problem for manifest in manifests for problem in problems(manifest)] == []
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)


def test_the_example_for_kserve_is_one() -> None:
    example_file = ROOT / "deploy" / "kserve" / "llm-inference-service.yaml"
    manifest = yaml.safe_load(example_file.read_text(encoding="utf-8"))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": manifest["spec"]["template"]}
    assert problems(manifest) + problems(pod) == []


def test_a_key_that_nothing_knows_is_a_problem() -> None:
    for manifest in render(MATRIX["everything over nodes"]) + render(MATRIX["keda over nodes"]):
        if "spec" in manifest:
            manifest["spec"]["unknown"] = 1
            assert problems(manifest), manifest["kind"]


def test_helm_finds_nothing_to_say_of_the_chart() -> None:
    report = helm_python.lint(CHART, strict=True, kube_version="v1.37.0")
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("case", MATRIX)
def test_every_pod_writes_only_where_something_is_mounted_and_runs_as_no_root(case: str) -> None:
    for pod in pod_specs(render(MATRIX[case])):
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {each["name"] for each in container["volumeMounts"]} <= volumes.keys()
        (container,) = pod["containers"]
        writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert {environment["HOME"], environment["TMPDIR"], "/dev/shm"} <= writable  # noqa: S108
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("case", MATRIX)
def test_engines_are_written_by_the_job_alone(case: str) -> None:
    for pod in pod_specs(render(MATRIX[case])):
        (engines,) = [each for each in pod["volumes"] if each["name"] == "engines"]
        is_job = pod["containers"][0]["name"] == "build"
        assert engines["persistentVolumeClaim"].get("readOnly", False) is not is_job


def test_what_is_served_beside_the_engine_and_loaded_later_are_arguments_that_conch_knows() -> None:
    models = {"available": ["/engines/a/one", "/engines/a/two"], **EVERYTHING["models"]}
    (container,) = of_kind(render({**EVERYTHING, "models": models}), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    arguments = container["args"]
    for argument in (
        *("--available=/engines/a/one", "--available=/engines/a/two", "--model-repository=/more/models"),
        *("--required-models=demo", "--model-control=explicit", "--alias=gpt-4o-mini=demo", "--sse-ping-interval-s=5"),
        "--otlp-endpoint=http://collector:4318",
    ):
        assert argument in arguments
    flags = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for argument in arguments[2:]:
        name = argument.partition("=")[0].replace("--no-", "--")
        assert f"`{name}" in flags, name


def test_no_key_is_an_argument() -> None:
    text = yaml.safe_dump(render({**EVERYTHING, "engine": {"spec": SPLIT}}))
    assert "--api-key=" not in text
    assert "--api-key " not in text
    deployment = of_kind(render(EVERYTHING), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    keys = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert keys == {
        "CONCH_API_KEY": {"name": "keys", "key": "one"},
        "CONCH_ADMIN_KEY": {"name": "keys", "key": "admin"},
    }


def test_a_pod_has_the_time_of_its_drain() -> None:
    pod = of_kind(render({"drain": {"preStopS": 5, "graceS": 120.5}}), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert "--shutdown-grace-s=120.5" in container["args"]
    assert pod["terminationGracePeriodSeconds"] == 5 + 121 + 40


def test_probes_reach_a_gateway_that_answers_to_its_name_alone_and_speaks_tls() -> None:
    (container,) = of_kind(render(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        request = container[probe]["httpGet"]
        assert request["scheme"] == "HTTPS"
        assert request["httpHeaders"] == [{"name": "Host", "value": "llm.example.org"}]
    assert container["startupProbe"]["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"


@pytest.mark.parametrize(("name", "kind"), [("gpus", "Deployment"), ("nodes", "LeaderWorkerSet")])
def test_the_gpus_of_a_pod_follow_from_the_spec(name: str, kind: str) -> None:
    manifest = of_kind(render(MATRIX[name]), kind)
    pods = [*pod_specs([manifest])]
    gpus = [pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] for pod in pods]
    assert gpus == ([2] if name == "gpus" else [8, 8])


def test_a_replica_over_nodes_is_reached_at_its_leader_alone() -> None:
    manifests = render(MATRIX["everything over nodes"])
    template = of_kind(manifests, "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    leader, worker = (template[name]["metadata"]["labels"] for name in ("leaderTemplate", "workerTemplate"))
    assert template["size"] == 4
    pool = of_kind(manifests, "InferencePool")["spec"]["selector"]["matchLabels"]
    for selector in (of_kind(manifests, "Service")["spec"]["selector"], pool):
        assert selector.items() <= leader.items()
        assert not selector.items() <= worker.items()
    assert leader["llm-d.ai/engine-type"] == "triton-tensorrt-llm"
    assert of_kind(manifests, "Service")["metadata"]["name"] != "llm-conch"  # LeaderWorkerSet makes one of its name
    (container,) = template["leaderTemplate"]["spec"]["containers"]
    hosts = ",".join(f"$(POD_NAME){index}.llm-conch:4" for index in ("", "-1", "-2", "-3"))
    assert f"--hosts={hosts}" in container["args"]


@pytest.mark.parametrize("name", ["Deployment", "LeaderWorkerSet"])
def test_what_scales_names_what_it_scales_and_leaves_the_count_to_it(name: str) -> None:
    split = {"engine": {"spec": SPLIT, "nodes": 2}, "multiNode": {"sshSecret": "ssh"}}
    for scaler, kind in (("autoscaling", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        manifests = render({scaler: {"enabled": True}, **(split if name == "LeaderWorkerSet" else {})})
        target = of_kind(manifests, kind)["spec"]["scaleTargetRef"]
        scaled = of_kind(manifests, name)
        assert (target["apiVersion"], target["kind"]) == (scaled["apiVersion"], name)
        assert target["name"] == scaled["metadata"]["name"]
        assert "replicas" not in scaled["spec"]


def test_another_spec_image_or_revision_is_built_beside_the_one_that_serves() -> None:
    def built(values: Manifest) -> tuple[str, str]:
        job = of_kind(render(values), "Job")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        return job["metadata"]["name"], container["args"][2]

    spec = spec_file("demo")
    first = built({})
    others = [built({"image": {"tag": "2"}}), built({"engine": {"spec": spec}}), built({"engine": {"revision": "two"}})]
    assert first == built({"replicaCount": 3})
    assert len({first, *others}) == 4
    assert len({directory for _, directory in (first, *others)}) == 4
    assert others[2][1] == "--output-dir=/engines/two"


@pytest.mark.parametrize("path", sorted(ENGINES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_spec_arrives_as_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    values = {"engine": {"spec": text}, "build": {"gpus": 1}}
    arrived = of_kind(render(values), "ConfigMap")["data"]["engine.toml"]
    assert tomllib.loads(arrived) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 2}, ["replicas"]),
        ({"gateway": {"port": "9000"}}, ["/gateway/port", "integer"]),
        ({"gateway": {"apiKey": {"value": "sk"}}}, ["/gateway/apiKey", "value"]),
        ({"gateway": {"extraArgs": ["--api-key=sk"]}}, ["/gateway/extraArgs/0"]),
        ({"gateway": {"otlpEndpoint": "collector:4318"}}, ["/gateway/otlpEndpoint"]),
        ({"models": {"repositories": ["models"]}}, ["/models/repositories/0"]),
        ({"models": {"control": "sometimes"}}, ["/models/control", "poll"]),
        ({"models": {"available": ["/engines/a/b"], "control": "poll"}}, ["models.available", "explicit"]),
        ({"engine": {"nodes": 0}}, ["/engine/nodes", "1"]),
        ({"engine": {"spec": ""}}, ["/engine/spec"]),
        ({"shm": {"sizeLimit": "lots"}}, ["/shm/sizeLimit"]),
        ({"autoscaling": {"kvCacheUsage": 60}}, ["/autoscaling/kvCacheUsage", "1"]),
        ({"httpRoute": {"enabled": True}}, ["/httpRoute/parentRefs"]),
        ({"service": {"type": "ExternalName"}}, ["/service/type", "ClusterIP"]),
        ({"podDisruptionBudget": {"maxUnavailable": "some"}}, ["/podDisruptionBudget/maxUnavailable"]),
        ({"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, ["autoscaling.enabled", "keda.enabled"]),
        ({"inferencePool": {"enabled": True}}, ["inferencePool.endpointPicker.name"]),
        ({"engine": {"spec": "name = "}}, ["engine.spec", "TOML"]),
        ({"engine": {"spec": "model = 'x'"}}, ["engine.spec", "name"]),
        ({"engine": {"spec": SPLIT, "nodes": 3}}, ["engine.nodes = 3", "16"]),
        ({"engine": {"spec": SPLIT, "nodes": 2}}, ["multiNode.sshSecret", "engine.nodes = 2"]),
        ({"engine": {"spec": spec_file("llama-3.1-8b")}}, ["build.gpus = 0"]),
        (
            {"engine": {"spec": SPLIT.replace('flow = "pytorch"', ""), "nodes": 4}, "multiNode": {"sshSecret": "s"}},
            ["build.gpus_per_node = 8", "4", "engine.nodes = 4"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: Manifest, words: list[str]) -> None:
    with pytest.raises(helm_python.HelmError) as caught:
        render(values)
    for word in words:
        assert word in str(caught.value)
