"""SmolLM2 as the newcomer gets it, and its weights through transformers: the reference for what is served."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from build_scripts.source.checkpoint import resolve
from build_scripts.spec.reading import ENGINES, read_spec
from tests.conftest import CONCH, ROOT

SPEC = ENGINES / "smollm2.toml"
AS_SERVED = "smollm2"
FLOAT = "smollm2-float"  # nothing rounded: equal to transformers but for the order of additions
NOT_TO_BE_HAD = "cannot be downloaded"


def engines() -> list[str]:
    """Both engines, built in the user's cache, which keeps them from run to run; skips where there is no package."""
    built = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "tests"
    for flags in ((), ("--name", FLOAT, "--quantization", "none")):
        argv = [str(CONCH), "build", str(SPEC), "--output-dir", str(built), *flags]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        if NOT_TO_BE_HAD in done.stderr:
            pytest.skip(done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
    return [str(built / FLOAT), str(built / AS_SERVED)]


@dataclass(frozen=True)
class Best:
    """What transformers says at each place of an answer: its likeliest token, by how much, and the logprob of ours."""

    ids: list[int]
    least_margin: float
    logprobs: list[float]


@cache
def _loaded() -> tuple[Any, Any]:
    with ExitStack() as stack:
        directory = stack.enter_context(resolve(read_spec(SPEC).model, SPEC.parent)).directory
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        return AutoTokenizer.from_pretrained(directory), model


def prompt_ids(messages: list[dict[str, str]]) -> list[int]:
    tokenizer, _ = _loaded()
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(text, add_special_tokens=False))


def encode(text: str) -> list[int]:
    tokenizer, _ = _loaded()
    return list(tokenizer.encode(text, add_special_tokens=False))


def decode(ids: list[int]) -> str:
    tokenizer, _ = _loaded()
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@torch.inference_mode()
def best(prompt: list[int], answer: list[int]) -> Best:
    """One pass over prompt and answer. An answer is greedy exactly where every token of it is the likeliest."""
    _, model = _loaded()
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    top = logits.topk(2, dim=-1)
    of_all = torch.log_softmax(logits, dim=-1)
    return Best(
        ids=top.indices[:, 0].tolist(),
        least_margin=float((top.values[:, 0] - top.values[:, 1]).min()),
        logprobs=[float(of_all[place, id]) for place, id in enumerate(answer)],
    )
