"""`conch build --plan`: what a build would do, on stdout, in seconds and without a GPU; it reads only file headers."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from typing import Any, Final

from rich.console import Console

from build_scripts.engine.builder import Materials
from build_scripts.plan import BuildRequest, PreparedBuild, prepare_build
from build_scripts.source.tokenizer import chat_template

_WIDTH: Final = 160  # of tables that go into a file or a pipe


def show_plan(request: BuildRequest, as_json: bool) -> None:
    """Print the plan of the build that is asked for, as tables or as one JSON object.

    Raises:
        SpecError: the spec asks for what cannot be built, or its runtime has no plan to show.
        BuildError: the checkpoint or the draft cannot be found or used.
    """
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    with prepare_build(request, preview=True) as prepared:
        preview = prepared.preview
    if preview is None:
        return
    if as_json:
        console.file.write(json.dumps(plan_json(prepared), indent=2) + "\n")
        return
    preview.print(console)
    _print_companions(console, prepared.materials)
    for number, step in enumerate(preview.steps, 1):
        console.print(f"{number}. {step.title} ({step.where})")
        if step.argv:
            console.print(f"   {shlex.join(step.argv)}", markup=False)


def plan_json(prepared: PreparedBuild) -> dict[str, Any]:
    """What `--plan --json` prints; empty where the runtime has no plan to show."""
    return {} if prepared.preview is None else prepared.preview.to_json() | _companions_json(prepared.materials)


def _companions_json(materials: Materials) -> dict[str, Any]:
    """What an engine has in addition to its model. `chat_template_sha256` is null where there is none.

    `eos_token_ids` are those of the configuration; a build adds those that only the tokenizer names.
    """
    template = chat_template(materials.checkpoint)
    adapters = [
        {"name": adapter.name, "rank": adapter.rank, "weight_bytes": adapter.weight_bytes}
        for adapter in materials.adapters
    ]
    return {
        "eos_token_ids": list(materials.facts.eos_token_ids),
        "chat_template_sha256": None if template is None else hashlib.sha256(template).hexdigest(),
        "adapters": adapters,
        "draft_model": materials.draft.checkpoint.source if materials.draft else None,
    }


def _print_companions(console: Console, materials: Materials) -> None:
    ends = ", ".join(map(str, materials.facts.eos_token_ids)) or "none"
    chat = "a chat template" if chat_template(materials.checkpoint) is not None else "no chat template"
    console.print(f"{materials.max_seq_len:,} tokens of context; end tokens: {ends}; {chat}", markup=False)
    for adapter in materials.adapters:
        text = f"Adapter {adapter.name}: rank {adapter.rank}, {adapter.weight_bytes:,} bytes"
        console.print(text, markup=False)
    if materials.draft is not None:
        console.print(f"Draft: {materials.draft.checkpoint.source}; its memory is not counted", markup=False)
