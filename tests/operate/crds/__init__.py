"""The schemas of others' custom resources, short, each with its source and version.

What an API server checks beyond them, rules in CEL and defaults, is not here. To take a newer one:

    git -C CLONE show TAG:PATH | python -m tests.operate.crds SOURCE@TAG:PATH VERSION > tests/operate/crds/KIND.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema

FILES: Final = sorted(Path(__file__).parent.glob("*.json"))


def short(schema: Any) -> Any:
    """An OpenAPI schema as JSON Schema: no descriptions, no unknown keys; pod templates as any object."""
    if isinstance(schema, list):
        return [short(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    properties = schema.get("properties", {})
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "containers" in properties or schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"type": "object"}
    kept = {
        key: short(value)
        for key, value in schema.items()
        if key not in {"description", "default", "format", "properties"} and not key.startswith("x-kubernetes-")
    }
    if properties:
        kept["properties"] = {name: short(value) for name, value in properties.items()}
        if "object" in (schema.get("type"), None):
            kept["additionalProperties"] = False
    return kept


def custom_resources() -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    """A validator for each apiVersion and kind."""
    found = {}
    for file in FILES:
        crd = json.loads(file.read_text(encoding="utf-8"))
        found[crd["apiVersion"], crd["kind"]] = jsonschema.Draft202012Validator(crd["schema"])
    return found
