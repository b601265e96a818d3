"""Encoders as they are served, and by sentence-transformers: the reference for what is served.

The embedding model is all-MiniLM-L6-v2, out of its package. The cross-encoder and the classifier have its tokenizer,
and weights that mean nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from build_scripts.source.checkpoint import resolve
from build_scripts.spec.reading import ENGINES, read_spec
from tests.conftest import CONCH, ROOT

SPEC = ENGINES / "minilm.toml"
NOT_TO_BE_HAD = "cannot be downloaded"
LABELS = ("good", "bad", "neither")
CACHE_BYTES = 1 << 20


def engines() -> list[str]:
    """Built engines, in the user's cache, which keeps them from run to run; skips where there is no package."""
    built = _cache() / "built"
    _build(SPEC, built)
    for name, classes in (("pairs", 1), ("classes", len(LABELS))):
        checkpoint = _write_checkpoint(name, classes)
        spec = checkpoint.with_suffix(".toml")
        cached = f"\n[embed]\nresponse_cache_bytes = {CACHE_BYTES}\n" if name == "classes" else ""
        spec.write_text(f'name = "{name}"\nmodel = "{checkpoint}"\n{cached}', encoding="utf-8")
        _build(spec, built)
    return [str(built / name) for name in ("minilm", "pairs", "classes")]


def checkpoint(name: str) -> Path:
    if name == "minilm":
        with ExitStack() as stack:
            return stack.enter_context(resolve(read_spec(SPEC).model, SPEC.parent)).directory
    return _cache() / name


@cache
def reference(name: str) -> Any:
    """sentence-transformers' model: a SentenceTransformer or a CrossEncoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import CrossEncoder, SentenceTransformer

        kind: Any = SentenceTransformer if name == "minilm" else CrossEncoder
        return kind(str(checkpoint(name)), device="cpu", local_files_only=True)


def logits(name: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """transformers' own, of a classifier [texts, classes]."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint(name))
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint(name)).eval()
    with torch.no_grad():
        found: NDArray[np.float32] = model(**tokenizer(list(texts), padding=True, return_tensors="pt")).logits.numpy()
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch" / "tests" / "encoders"


def _build(spec: Path, built: Path) -> None:
    argv = [str(CONCH), "build", str(spec), "--output-dir", str(built)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if NOT_TO_BE_HAD in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr


def _write_checkpoint(name: str, classes: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(classes)
    labels = dict(enumerate(LABELS[:classes])) if classes > 1 else {0: "score"}
    configure: Any = BertConfig
    config = configure(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,  # else all texts get about the same score
        id2label=labels,
    )
    directory = _cache() / name
    directory.mkdir(parents=True, exist_ok=True)
    BertForSequenceClassification(config).save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint("minilm") / file, directory / file)
    return directory
