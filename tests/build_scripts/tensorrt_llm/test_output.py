"""What is read out of the noise of TensorRT-LLM's programs: how far they are, and why they failed."""

from __future__ import annotations

import pytest

from build_scripts.tensorrt_llm.output import BuildOutput


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["usage: trtllm-build", "trtllm-build: error: unrecognized arguments: --x"], "unrecognized arguments: --x"),
        (["[x] [TRT-LLM] [E] first", "[x] [TRT] [E] second", "RuntimeError: third"], "first"),
        (["RuntimeError: why", "AssertionError: Engine building failed, please check error log."], "RuntimeError: why"),
        (["torch.cuda.OutOfMemoryError: CUDA out of memory."], "torch.cuda.OutOfMemoryError: CUDA out of memory."),
        (["Killed", ""], "Killed"),
        ([], "no output"),
    ],
)
def test_the_reason_is_the_cause_and_not_what_came_of_it(lines: list[str], reason: str) -> None:
    output = BuildOutput()
    for line in lines:
        output.take(line + "\n")
    assert output.reason == reason


def test_progress_counts_the_ranks_that_are_written() -> None:
    output, seen = BuildOutput(), []
    for line in (
        "[TRT-LLM] [I] Set PluginConfig.nccl_plugin to auto.",
        "[TRT-LLM] [I] Build TensorRT engine Unnamed Network 0",
        "[TRT-LLM] [I] Serializing engine to /model/engine/rank3.engine...",
        "[TRT-LLM] [I] Engine serialized. Total time: 00:00:14",
    ):
        output.take(line)
        seen.append((output.engines, output.doing))
    assert seen == [(0, "building the network"), (0, "compiling"), (0, "writing rank3"), (1, "writing rank3")]
