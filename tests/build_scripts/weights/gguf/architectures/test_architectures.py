"""Random models of transformers, stored as llama.cpp stores them, compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_scripts.weights.gguf.families.known import FAMILIES
from tests.build_scripts.weights.gguf.architectures.cases import CASES
from tests.build_scripts.weights.gguf.architectures.models import difference, model_of
from tests.build_scripts.weights.gguf.architectures.writing import write


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # GPTBigCode's own
@pytest.mark.parametrize("case", CASES)
def test_a_model_of_every_architecture_computes_the_same(tmp_path: Path, case: str) -> None:
    model = model_of(case)
    model.save_pretrained(tmp_path / "original")
    write(tmp_path / "x.gguf", tmp_path / "original", CASES[case])
    assert difference(model, tmp_path / "x.gguf") < 1e-4


def test_every_architecture_is_tried() -> None:
    assert {case.architecture for case in CASES.values()} == set(FAMILIES)
