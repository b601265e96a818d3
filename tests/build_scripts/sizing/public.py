"""`python -m tests.build_scripts.sizing.public DIR [GPU]`: plan each DIR/NAME/config.json, beside counts of others.

Parameters stand beside those of the model that transformers makes without memory for its weights, KV bytes of a token
beside a formula that is written down a second time (`kv.py`). Then the flow that takes the checkpoint, the splits over
one machine that hold it, the one that holds the most sequences of 8,192 tokens, and what a plan says. Exits with 1
where a count differs. Public configurations to try it on are in ai-dynamo/aiconfigurator, `model_configs`.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from build_scripts.engine.builder import Fit
from build_scripts.plan import BuildRequest, prepare_build
from build_scripts.sizing import model_shape
from build_scripts.sizing.reading import is_known
from build_scripts.spec.engine_spec import EngineSpec
from tests.build_scripts.sizing.kv import kv_values_per_token, text_of
from tests.build_scripts.sizing.meta import count
from triton_repo.contract.errors import ConchError

COLUMNS = (
    *("model", "architecture", "flow", "weights", "parameters", "transformers", "", "KV bytes per token", "formula"),
    *("", "tp × pp that fit", "8k", "verdict"),
)
SHOWN = 60  # characters of a verdict


@dataclass(frozen=True, slots=True)
class Planned:
    """What the plans of one checkpoint say, in the first flow that takes it."""

    flow: str
    sized: Mapping[str, Any]
    searched: Mapping[str, Any]
    verdict: str


def plan(directory: Path, gpu: str) -> Planned:
    """Raises: ConchError: neither flow takes it; with the reason of the PyTorch flow."""
    try:
        return _plan(directory, gpu, "compiled", "compiles")
    except ConchError as rejected:
        reason = _plain(directory, rejected)
        return _plan(directory, gpu, "pytorch", f"not compiled: {reason}")


def _plan(directory: Path, gpu: str, flow: str, verdict: str) -> Planned:
    spec = EngineSpec.model_validate(
        {"name": "x", "model": str(directory), "runtime": "tensorrt_llm", "build": {"flow": flow}}
    )
    sized = _preview(directory, spec, Fit("9999"))
    try:
        return Planned(flow, sized, _preview(directory, spec, Fit(gpu, search=True)), verdict)
    except ConchError as unknown:
        return Planned(flow, sized, {}, _plain(directory, unknown))


def _preview(directory: Path, spec: EngineSpec, fit: Fit) -> Mapping[str, Any]:
    request = BuildRequest(spec, "flags", directory.parent, directory.parent / "built", fit)
    with prepare_build(request, preview=True) as prepared:
        assert prepared.preview is not None
        return prepared.preview.to_json()


def _plain(directory: Path, error: ConchError) -> str:
    return str(error).replace(f"{directory.name}: ", "").replace("config.json: ", "")


def row(directory: Path, config: Mapping[str, Any], gpu: str) -> list[str]:
    """Of a model that no flow takes, what its decoder of text is counted as."""
    architecture = str((config.get("architectures") or ["?"])[0]).replace("ForCausalLM", "…")
    counted, formula = count(text_of(config)), kv_values_per_token(config)
    theirs = counted.parameters if counted and is_known(config) else None  # others are said to be estimates
    try:
        planned = plan(directory, gpu)
    except ConchError as error:
        return [
            directory.name,
            architecture,
            "–",
            *_text_alone(config, theirs, formula),
            _plain(directory, error)[:SHOWN],
        ]
    sized, searched = planned.sized, planned.searched
    kv_bytes = None if formula is None else formula * sized.get("kv_value_bits", 16) // 8
    fitting = [each for each in searched.get("candidates", ()) if each["sequences"]]
    splits = dict.fromkeys(f"{each['tensor_parallel']} × {each['pipeline_parallel']}" for each in fitting)
    return [
        directory.name, architecture, planned.flow, str(sized.get("quantization")),
        *_beside(sized.get("parameters"), theirs), *_beside(sized.get("kv_bytes_per_token"), kv_bytes),
        ", ".join(splits) or "none", f"{(searched.get('best') or {}).get('sequences', 0):,}", planned.verdict[:SHOWN],
    ]  # fmt: skip


def _text_alone(config: Mapping[str, Any], parameters: int | None, formula: int | None) -> list[str]:
    try:
        shape = model_shape(config, "")
    except ConchError:
        return ["", *_beside(None, parameters), *_beside(None, formula), "", ""]
    sizes = _beside(shape.parameters, parameters), _beside(shape.kv_values_per_token * 2, formula and formula * 2)
    return ["text alone", *sizes[0], *sizes[1], "", ""]


def _beside(ours: int | None, theirs: int | None) -> list[str]:
    shown = ["–" if number is None else f"{number:,}" for number in (ours, theirs)]
    return [*shown, "" if ours is None or theirs is None else "=" if ours == theirs else "DIFFERS"]


def main(folder: Path, gpu: str) -> int:
    warnings.simplefilter("ignore")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    table, parameters, cache, flows = Table(box=SIMPLE, pad_edge=False), Counter[str](), Counter[str](), Counter[str]()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"model", "verdict"} else "right", overflow="fold")
    for file in sorted(folder.glob("*/config.json")):
        cells = row(file.parent, json.loads(file.read_bytes()), gpu)
        parameters[cells[6] or "without a second count"] += 1
        cache[cells[9] or "without a second count"] += 1
        flows[cells[2]] += 1
        table.add_row(*cells)
    console = Console(width=260)
    console.print(table)
    for name, seen in (("parameters", parameters), ("KV bytes per token", cache), ("flows", flows)):
        console.print(f"{name}:", ", ".join(f"{number} {what}" for what, number in seen.items()), markup=False)
    return int(bool(parameters["DIFFERS"] or cache["DIFFERS"]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "8xb200-180gb"))
