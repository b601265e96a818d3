"""What the real Helm makes of the chart, and whether Kubernetes' schemas allow it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import helm_python
import kubernetes_validate
import yaml

from tests.operate.crds import custom_resources

CHART: Final = Path(__file__).parents[2] / "deploy" / "helm" / "conch"
KUBERNETES: Final = "1.37"
_CUSTOM: Final = custom_resources()

Manifest = dict[str, Any]


def render(values: Manifest, release: str = "llm") -> list[Manifest]:
    """The manifests of a release; raises helm_python.HelmError."""
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(values, name=release, namespace="serving")
    files = (text for name, text in sorted(rendered.items()) if name.endswith(".yaml"))
    return [manifest for text in files for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def problems(manifest: Manifest) -> list[str]:
    """What an API server would not take of it, as far as schemas say that."""
    validator = _CUSTOM.get((manifest["apiVersion"], manifest["kind"]))
    if validator is not None:
        found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
        return found + [problem for pod in _pods(manifest) for problem in problems(pod)]
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{manifest['kind']}: {error.message} at {list(error.path)}"]
    return []


def pod_specs(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Of everything that makes pods."""
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            yield manifest["spec"]["template"]["spec"]
        yield from (pod["spec"] for pod in _pods(manifest))


def _pods(manifest: Manifest) -> Iterator[Manifest]:
    """The pod templates of a LeaderWorkerSet, each as a pod."""
    templates = manifest.get("spec", {}).get("leaderWorkerTemplate", {})
    for name in ("leaderTemplate", "workerTemplate"):
        if name in templates:
            metadata = {**templates[name]["metadata"], "name": name}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": templates[name]["spec"]}
