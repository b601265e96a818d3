"""docs/gpu.md names the architectures of each flow as the source has them."""

from __future__ import annotations

import re
from pathlib import Path

from build_scripts.architectures import FAMILIES
from build_scripts.tensorrt_llm.converter_models import CONVERTED
from tests.build_scripts.checkpoints import ARCHITECTURES
from tests.build_scripts.tensorrt_llm.model_keys import MODEL_KEYS

PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"


def named(reader: str) -> list[str]:
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if f"| {reader}" in line)
    return re.findall(r"`([^`]+)`", row.split("|")[3])


def test_the_page_names_the_architectures_that_are_sharded_here_and_those_that_are_converted() -> None:
    assert named("Conch's shards") == list(FAMILIES)
    assert named("the checkpoint, by TensorRT-LLM's own converter") == sorted(CONVERTED - set(FAMILIES))


def test_every_family_is_compiled_by_tensorrt_llm_and_has_a_checkpoint_and_the_keys_of_its_model_in_the_tests() -> None:
    assert set(FAMILIES) <= CONVERTED
    assert set(ARCHITECTURES.values()) == set(FAMILIES) == set(MODEL_KEYS)
