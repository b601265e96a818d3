"""The chat templates of a checkpoint, by name, as transformers chooses them.

Files win over `tokenizer_config.json`: `chat_template.jinja`, which is called default, and those of
`additional_chat_templates/`, each called as its file. In the configuration `chat_template` is one template, a list of
objects with `name` and `template`, or an object of templates by name. `chat_template.json`, which transformers' older
processors wrote for models that also see, counts where there is none of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.vocabulary.files import MORE_TEMPLATES, PROCESSOR_TEMPLATE, TEMPLATE
from build_scripts.weights.strict_json import parse_object

DEFAULT: Final = "default"
TOOL_USE: Final = "tool_use"  # is taken for chats with tools


def chat_templates(directory: Path, config: Mapping[str, Any]) -> dict[str, bytes]:
    """Empty for a base model, and without templates that have no text. Raises: BuildError: a file is no JSON object."""
    files = {path.stem: path for path in map(directory.joinpath, MORE_TEMPLATES)}
    files[DEFAULT] = directory / TEMPLATE if (directory / TEMPLATE).is_file() else files[DEFAULT]
    found = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    found = found or _of_config(config) or _of_processor(directory / PROCESSOR_TEMPLATE)
    return {name: template for name, template in found.items() if template.strip()}


def _of_config(config: Mapping[str, Any]) -> dict[str, bytes]:
    given = config.get("chat_template")
    if isinstance(given, str):
        given = {DEFAULT: given}
    if isinstance(given, list):
        given = {entry.get("name"): entry.get("template") for entry in given if isinstance(entry, dict)}
    if not isinstance(given, dict):
        return {}
    return {str(name): template.encode() for name, template in given.items() if isinstance(template, str)}


def _of_processor(file: Path) -> dict[str, bytes]:
    return _of_config(parse_object(file.read_bytes(), str(file), repeated_keys=True)) if file.is_file() else {}
