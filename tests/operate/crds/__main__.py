"""Write the schema of one version of a CustomResourceDefinition, short: see the package."""

from __future__ import annotations

import json
import sys

import yaml

from tests.operate.crds import short


def main(source: str, version: str) -> None:
    crd = yaml.safe_load(sys.stdin)["spec"]
    (schema,) = [each["schema"]["openAPIV3Schema"] for each in crd["versions"] if each["name"] == version]
    schema = short(schema)
    schema["properties"]["metadata"] = {"type": "object"}
    kept = {"source": source, "apiVersion": f"{crd['group']}/{version}", "kind": crd["names"]["kind"], "schema": schema}
    sys.stdout.write(json.dumps(kept, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
