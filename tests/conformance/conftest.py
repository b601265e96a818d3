"""One running Conch for all clients: a chat model, the demo, an embedding model, and one that scores prompts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from build_scripts.source.checkpoint import resolve
from build_scripts.spec.reading import read_spec
from tests.conformance import results
from tests.conformance.environments import cache
from tests.conftest import CONCH, ROOT, Stack, serving
from tests.left_regions import no_regions_left
from tests.serving import encoders, smollm2

__all__ = ["no_regions_left"]

SCORED = "smollm2-scored"  # nothing rounded, and it tells the logprobs of prompts
PAIRS = (
    ("The capital of France is", " Paris"),
    ("The capital of France is", " a large city in Europe."),
    ("Water boils at", " 100 degrees"),
    ("def add(a, b):", "\n    return a + b"),
)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    chat = next(engine for engine in smollm2.engines() if Path(engine).name == smollm2.AS_SERVED)
    [embedding] = [engine for engine in encoders.engines() if Path(engine).name == "minilm"]
    log = tmp_path_factory.mktemp("conformance") / "serve.log"
    with serving(chat, "demo", embedding, _scored_engine(), log=log) as running:
        yield running


def _scored_engine() -> str:
    spec = cache() / f"{SCORED}.toml"
    spec.parent.mkdir(parents=True, exist_ok=True)
    model = read_spec(smollm2.SPEC).model
    build = '[build]\nquantization = "none"\nmax_seq_len = 2048\n'
    text = f'name = "{SCORED}"\nmodel = "{model}"\nruntime = "openvino"\n{build}[serve]\nprompt_logprobs = true\n'
    spec.write_text(text, encoding="utf-8")
    argv = [str(CONCH), "build", str(spec), "--output-dir", str(cache() / "engines")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(cache() / "engines" / SCORED)


@pytest.fixture(scope="session")
def variables(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the programs read from their environment; no client may report home, nor find keys or proxies of others."""
    reference = tmp_path_factory.mktemp("reference") / "reference.json"
    reference.write_text(json.dumps(_reference()), encoding="utf-8")
    quiet = {"ANONYMIZED_TELEMETRY": "false", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1,localhost"}
    return {**quiet, **local, "CONCH_URL": stack.gateway, "CONCH_REFERENCE": str(reference)}


def _reference() -> dict[str, Any]:
    with ExitStack() as opened:
        checkpoint = opened.enter_context(resolve(read_spec(smollm2.SPEC).model, smollm2.SPEC.parent)).directory
    return {
        "model": SCORED,
        "checkpoint": os.fspath(checkpoint),
        "pairs": [
            {"context": context, "continuation": continuation, "logprob": _logprob(context, continuation)}
            for context, continuation in PAIRS
        ],
    }


def _logprob(context: str, continuation: str) -> float:
    before, whole = smollm2.encode(context), smollm2.encode(context + continuation)
    assert whole[: len(before)] == before
    return sum(smollm2.best(before, whole[len(before) :]).logprobs)


@pytest.fixture(scope="session")
def recorded() -> Iterator[dict[str, results.Result]]:
    """Takes what each client reported, and keeps it when all have run."""
    found: dict[str, results.Result] = {}
    yield found
    results.record(found)
