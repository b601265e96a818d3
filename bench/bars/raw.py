"""The bare pipeline, `python -m bench.bars.raw ENGINE_DIRECTORY`: what the engine does with nothing around it.

One OpenVINO GenAI pipeline in one process, with the limits and precisions of the engine's own `engine.json`; a loop
of `step` and `read`. Waves of prompts come in as JSON lines on stdin, their times go out on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.child_server import ROOT
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import BenchError

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Wave:
    """Prompts that started together: time until the last one ended, their tokens, each one's time to first token."""

    elapsed_s: float
    tokens: int
    ttft_s: Sequence[float]


class RawPipeline:
    """The bare pipeline in a process of its own; a context manager."""

    def __init__(self, engine: Path) -> None:
        argv = [sys.executable, "-m", "bench.bars.raw", str(engine)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, encoding="utf-8")

    def __enter__(self) -> RawPipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.communicate()  # closes its stdin, which ends it

    def wave(self, prompts: Prompts, max_tokens: int) -> Wave:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"prompts": prompts, "max_tokens": max_tokens}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchError("the bare pipeline ended")
        return Wave(**json.loads(answer))


def run_wave(pipeline: Any, prompts: Prompts, max_tokens: int) -> Wave:
    """Greedy decoding of all prompts to exactly `max_tokens` each."""
    import numpy as np
    import openvino
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = max_tokens
    config.ignore_eos = True
    started = time.perf_counter()
    handles = [
        pipeline.add_request(number, openvino.Tensor(np.array([ids], dtype=np.int64)), config)
        for number, ids in enumerate(prompts)
    ]
    ttft_s: dict[int, float] = {}
    tokens = 0
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for number, handle in enumerate(handles):
            while handle.can_read():
                tokens += sum(len(output.generated_ids) for output in handle.read().values())
                ttft_s.setdefault(number, time.perf_counter() - started)
    return Wave(time.perf_counter() - started, tokens, list(ttft_s.values()))


def main(engine: Path) -> None:
    from triton_repo.engine.runtimes.openvino.pipeline import open_pipeline

    pipeline = open_pipeline(EngineDirectory(engine).model.path, EngineConfig.load(engine))
    for line in sys.stdin:
        wave = run_wave(pipeline, **json.loads(line))
        sys.stdout.write(json.dumps({"elapsed_s": wave.elapsed_s, "tokens": wave.tokens, "ttft_s": wave.ttft_s}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
