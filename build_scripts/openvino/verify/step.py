"""The child's side of both checks of a CPU engine before it is published: against transformers, and as it is served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError

if TYPE_CHECKING:
    from build_scripts.openvino.verify.result import Difference

TOLERANCE: Final = 5e-3  # of a logprob, both sides in float32; other orders of sums make 1e-5 to 1e-3


def check_equal(model: str, config: str, expected: str, found: str) -> None:
    """Compare the engine in the directory `model` with transformers' answers in the file `expected`.

    Both compute in float32 from the same weights. `config` is an EngineConfig as JSON; the result goes to `found`.

    Raises:
        BuildError: they differ, or the engine cannot be run.
    """
    from build_scripts.openvino.verify.answers import ask  # OpenVINO
    from build_scripts.openvino.verify.result import Expected, compare

    wanted = Expected.load(Path(expected))
    answers = ask(Path(model), EngineConfig.model_validate_json(config), [each.prompt.tolist() for each in wanted])
    differences = [compare(*pair) for pair in zip(wanted, answers, strict=True)]
    wrong = [each for each in differences if not each.within(TOLERANCE)]
    if wrong:
        raise BuildError(_sentence(wrong[0], len(wrong), len(differences)))
    result = {
        "prompts": [each.prompt_tokens for each in differences],
        "tokens": sum(each.tokens for each in differences),
        "largest_difference": max(each.largest for each in differences),
        "tolerance": TOLERANCE,
    }
    Path(found).write_text(json.dumps(result) + "\n", encoding="utf-8")


def check_served(model: str, config: str, prompts: Sequence[Sequence[int]]) -> None:
    """Run the engine as it is served, in its own precision, with its own weights.

    Raises:
        BuildError: it cannot be run, or answers with what is not a number.
    """
    import numpy as np

    from build_scripts.openvino.verify.answers import ask  # OpenVINO

    answers = ask(Path(model), EngineConfig.model_validate_json(config), prompts)
    for prompt, answer in zip(prompts, answers, strict=True):
        if not np.isfinite(answer.logprobs).all():
            raise BuildError(f"its logprobs are not finite, after a prompt of {len(prompt)} tokens")


def _sentence(first: Difference, wrong: int, prompts: int) -> str:
    where = f"token {first.position} of a prompt of {first.prompt_tokens}"
    if first.position >= first.prompt_tokens:
        where = f"new token {first.position - first.prompt_tokens + 1} after a prompt of {first.prompt_tokens}"
    return (
        f"the engine does not compute what transformers does: {wrong} of {prompts} prompts differ, the first by "
        f"{first.largest:.2g} in the logprob of {where} (allowed: {TOLERANCE:g}); the architecture is exported "
        "wrong, or OpenVINO's continuous batching rewrites it wrong"
    )
