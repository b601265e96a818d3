"""`python -m tests.build_scripts.sizing.public DIR`: plan each DIR/NAME/config.json, beside what transformers counts.

Public configurations to try it on are in ai-dynamo/aiconfigurator, `src/aiconfigurator/model_configs`.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from build_scripts.engine.builder import Fit
from build_scripts.plan import BuildRequest, prepare_build
from build_scripts.spec.engine_spec import EngineSpec
from tests.build_scripts.sizing.meta import Counted, count
from triton_repo.contract.errors import ConchError

COLUMNS = ("model", "weights", "parameters", "transformers", "", "KV bytes per token", "transformers", "", "GPUs", "8k")


def plan(directory: Path, gpu: str) -> dict[str, Any]:
    """The search over one machine, and the KV cache of one rank. Raises: ConchError."""
    values = {"name": "x", "model": str(directory), "runtime": "tensorrt_llm", "build": {"flow": "pytorch"}}
    spec = EngineSpec.model_validate(values)
    answers: dict[str, Any] = {}
    for fit in (Fit("9999"), Fit(gpu, search=True)):
        request = BuildRequest(spec, "flags", directory.parent, directory.parent / "built", fit)
        with prepare_build(request, preview=True) as prepared:
            assert prepared.preview is not None
            answers = {**prepared.preview.to_json(), **answers}
    return answers


def row(name: str, planned: dict[str, Any], counted: Counted | None) -> list[str]:
    best = planned.get("best") or {}
    world = best.get("tensor_parallel", 0) * best.get("pipeline_parallel", 0)
    parameters, kv = planned["parameters"], planned["kv_bytes_per_token"]
    values = counted.kv_values_per_token if counted else None
    kv_bytes = None if values is None else values * planned["kv_value_bits"] // 8
    return [
        name, str(planned["quantization"]),
        f"{parameters:,}", *_beside(parameters, counted.parameters if counted else None),
        f"{kv:,}", *_beside(kv, kv_bytes), str(world or "–"), f"{best.get('sequences', 0):,}",
    ]  # fmt: skip


def _beside(ours: int, theirs: int | None) -> list[str]:
    if theirs is None:
        return ["–", ""]
    return [f"{theirs:,}", "=" if ours == theirs else "DIFFERS"]


def main(folder: Path, gpu: str) -> None:
    warnings.simplefilter("ignore")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    table, seen = Table(box=SIMPLE, pad_edge=False), Counter[str]()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for file in sorted(folder.glob("*/config.json")):
        config = json.loads(file.read_bytes())
        if not any(str(name).endswith("ForCausalLM") for name in config.get("architectures") or ()):
            continue
        try:
            cells = row(file.parent.name, plan(file.parent, gpu), count(config))
        except ConchError as error:
            cells = [file.parent.name, f"rejected: {error}".replace(f"{file.parent.name}: ", "")]
        seen[f"{cells[4] or 'not known to transformers'}" if len(cells) > 2 else "rejected"] += 1
        table.add_row(*cells)
    console = Console(width=200)
    console.print(table)
    console.print("parameters:", ", ".join(f"{number} {what}" for what, number in seen.items()), markup=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "8xb200-180gb")
