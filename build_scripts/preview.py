"""`conch build --plan`: what a build would do, on stdout, in seconds and without a GPU; nothing is read but headers."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from build_scripts.architectures import UnknownArchitecture
from build_scripts.engine.render import sequence_length
from build_scripts.plan import BuildRequest
from build_scripts.source.adapters import Adapter, find_adapters
from build_scripts.source.checkpoint import resolve
from build_scripts.source.draft import Draft, find_draft
from build_scripts.spec.errors import spec_error
from build_scripts.tensorrt_llm.compile import plan_steps
from build_scripts.tensorrt_llm.plan import check_converter, plan_shards, resolved
from build_scripts.tensorrt_llm.report import print_plan, print_steps, steps_json, to_json
from build_scripts.tensorrt_llm.sharding.gpus import find_gpus
from triton_repo.contract.errors import SpecError

_WIDTH = 160  # of tables that go into a file or a pipe


@dataclass(frozen=True, slots=True)
class Companions:
    """What an engine has beside its model: found and checked, and not read."""

    adapters: tuple[Adapter, ...]
    draft: Draft | None

    def to_json(self) -> dict[str, Any]:
        adapters = [
            {"name": adapter.name, "rank": adapter.rank, "weight_bytes": adapter.weight_bytes}
            for adapter in self.adapters
        ]
        return {"adapters": adapters, "draft_model": self.draft.checkpoint.source if self.draft else None}

    def print(self, console: Console) -> None:
        for adapter in self.adapters:
            told = f"Adapter {adapter.name}: rank {adapter.rank}, {adapter.weight_bytes:,} bytes"
            console.print(told, markup=False)
        if self.draft is not None:
            console.print(f"Draft: {self.draft.checkpoint.source}; its memory is not counted", markup=False)


def show_plan(request: BuildRequest, as_json: bool) -> None:
    """Print the plan of the build that is asked for, as tables or as one JSON object.

    Raises:
        SpecError: the spec asks for what cannot be built, or its runtime splits nothing.
        BuildError: the checkpoint or the draft cannot be found or used.
    """
    spec = request.spec
    if request.verify is not None:
        raise SpecError("--verify: not with --plan, which writes no shards")
    if spec.runtime != "tensorrt_llm":
        raise spec_error(request.origin, "runtime", spec.runtime, "--plan is for runtime tensorrt_llm")
    checkpoint = resolve(spec.model, request.base, formats=())
    facts = checkpoint.facts()
    length = sequence_length(spec, facts, request.origin)
    draft = find_draft(spec, facts, length, request.base, request.origin, formats=())
    companions = Companions(find_adapters(spec, request.base, request.origin), draft)
    source: Path = checkpoint.directory.absolute()
    model = (request.built / spec.name / "model").absolute()
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    try:
        plan = plan_shards(spec, checkpoint, request.origin, length, find_gpus(request.gpu))
    except UnknownArchitecture as unknown:
        check_converter(spec, request.origin)
        steps = plan_steps(model, source, resolved(spec, checkpoint, length), length, own=False)
        if as_json:
            own = {"engine": spec.name, "converter": "tensorrt_llm", "steps": steps_json(steps)}
            _print_json(console, own | companions.to_json())
            return
        console.print(f"{unknown}. TensorRT-LLM's own converter does this one, on a GPU host:", markup=False)
        companions.print(console)
        print_steps(console, steps)
        return
    steps = plan_steps(model, source, resolved(spec, checkpoint, length), length, own=True)
    if as_json:
        _print_json(console, to_json(spec.name, plan, steps) | companions.to_json())
    else:
        print_plan(console, spec.name, plan)
        companions.print(console)
        print_steps(console, steps)


def _print_json(console: Console, value: object) -> None:
    console.file.write(json.dumps(value, indent=2) + "\n")
