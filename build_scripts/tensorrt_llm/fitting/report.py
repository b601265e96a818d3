"""The plan of an architecture that Conch does not shard: tables for people, JSON values for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console

from build_scripts.engine.builder import Step
from build_scripts.tensorrt_llm.fitting.memory import Stage
from build_scripts.tensorrt_llm.fitting.plan import FitPlan
from build_scripts.tensorrt_llm.fitting.tables import capacity, gb, headline, plan_json, steps_json, table
from triton_repo.contract.engine_config import Flow

# Who reads the checkpoint, by flow.
_READERS: Final = {
    "compiled": "TensorRT-LLM's own converter does this one, on a GPU host:",
    "pytorch": "TensorRT-LLM's PyTorch flow reads this one as it is:",
}


@dataclass(frozen=True, slots=True)
class FitPreview:
    """An engine of an architecture that only TensorRT-LLM's own code reads."""

    name: str
    plan: FitPlan
    flow: Flow
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """Bytes as whole numbers. `kv_tokens` and `sequences` are null where no GPU is given."""
        return {
            **plan_json(self.name, self.plan.shape, self.plan),
            "converter": "tensorrt_llm",
            "stages": [_stage_json(stage) for stage in self.plan.stages],
            "steps": steps_json(self.steps),
        }

    def print(self, console: Console) -> None:
        asked = self.plan.asked
        console.print(headline(self.name, self.plan.shape, asked))
        console.print(_stage_table(self.plan))
        for note in asked.notes:
            console.print(note, markup=False)
        console.print(capacity(self.plan), markup=False)
        console.print(_READERS[self.flow], markup=False)


@dataclass(frozen=True, slots=True)
class UncountedPreview:
    """An engine of an architecture whose sizes are not known; `reason` names what is not."""

    name: str
    reason: str
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        return {"engine": self.name, "converter": "tensorrt_llm", "parameters": None, "steps": steps_json(self.steps)}

    def print(self, console: Console) -> None:
        console.print(f"{self.reason}: whether it fits is not known.", markup=False)


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {
        "layers": [stage.layers.start, stage.layers.stop],
        "engine_bytes": stage.weight_bytes,
        "activation_bytes": stage.activation_bytes,
        "kv_bytes_per_token": stage.kv_bytes_per_token,
        "state_bytes": stage.state_bytes,
        "kv_tokens": stage.kv_tokens,
        "sequences": stage.sequences,
    }


def _stage_table(plan: FitPlan) -> Any:
    columns = ["ranks", "layers", "weights on GPU", "working memory", "KV per token", "state per sequence"]
    rows = table(*columns, *(["KV tokens"] if plan.gpus else []))
    tp_size = plan.asked.parallel.tp_size
    for number, stage in enumerate(plan.stages):
        first, last = number * tp_size, (number + 1) * tp_size - 1
        figures = [
            str(last) if first == last else f"{first}-{last}",
            f"{stage.layers.start}-{stage.layers.stop - 1}",
            gb(stage.weight_bytes),
            gb(stage.activation_bytes),
            f"{stage.kv_bytes_per_token / 1024:,.1f} KiB",
            f"{stage.state_bytes / 1024:,.1f} KiB",
        ]
        rows.add_row(*figures, *([f"{stage.kv_tokens:,}" if stage.kv_tokens is not None else "–"] if plan.gpus else []))
    return rows
