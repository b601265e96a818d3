"""What a person reads once everything answers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Final

from launch.serving.options import ServeOptions
from triton_repo.contract.api_key import API_KEY_VARIABLE
from triton_repo.contract.model_card import GENERATE

_EXAMPLES: Final = {  # by kind of engine: a path, and what a body holds beside the model's name
    GENERATE: ("/v1/chat/completions", '"messages": [{"role": "user", "content": "Hello!"}]'),
    "embed": ("/v1/embeddings", '"input": "Hello!"'),
    "rerank": ("/v1/rerank", '"query": "Hello!", "documents": ["Good morning.", "A stone."]'),
    "classify": ("/v1/classify", '"input": "Hello!"'),
}


def ready_message(
    options: ServeOptions, kinds: Mapping[str, str], took_s: float, command: str = "conch", announcement: str = ""
) -> str:
    """What a person reads once everything answers; the keys appear only as what holds them.

    `kinds` of the engines by name.
    """
    authorization = f' -H "Authorization: Bearer ${API_KEY_VARIABLE}"' if options.gateway.needs_key else ""
    lines = [f"\nConch is ready: {options.url}  (engines: {', '.join(kinds)}; started in {took_s:.1f} s)"]
    if GENERATE in kinds.values():
        lines.append(f"  chat in a browser:  {options.url}/")
        lines.append(f"  chat in a terminal: {command} chat --url {options.url}/v1")
    for kind, (path, fields) in _EXAMPLES.items():
        if (name := next((name for name, of_kind in kinds.items() if of_kind == kind), None)) is not None:
            call = f"curl {options.url}{path}{authorization} -H 'Content-Type: application/json'"
            lines.append(f"""  {call} -d '{{"model": "{name}", {fields}}}'""")
    return "\n".join(lines) + f"\n{announcement}"


def this_command() -> str:
    """How to call `conch` from here: its name where the shell finds it, else its path."""
    return "conch" if shutil.which("conch") else os.path.relpath(sys.argv[0])
