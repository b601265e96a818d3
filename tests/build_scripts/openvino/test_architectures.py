"""One architecture for each way of exporting one, built and compared; `python -m bench.architectures` does all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.architectures.catalog import named
from bench.architectures.trial import try_architecture
from build_scripts.openvino.limits import longest_sequence


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("gemma3", "optimum-intel"),  # of a newer transformers than optimum-intel wants
        ("olmo3", "decoder"),  # which it does not know
        ("deepseek v3", "decoder"),  # on which it fails
        ("mpt", "decoder"),  # whose attention it exports so that the pipeline loses ALiBi
    ],
)
def test_an_architecture_is_exported_by_the_first_way_that_can(name: str, way: str, tmp_path: Path) -> None:
    result = try_architecture(named(name), tmp_path)
    assert result.reason is None
    assert result.way == way


def test_a_model_without_attention_is_rejected_for_what_it_keeps(tmp_path: Path) -> None:
    reason = try_architecture(named("mamba"), tmp_path).reason
    assert reason is not None
    assert (
        "MambaForCausalLM cannot be exported: it keeps a state that is not the keys and values of attention" in reason
    )


LONGROPE = {"rope_type": "longrope", "original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({}, None),
        ({"rope_scaling": None}, None),
        ({"rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 8192}}, None),
        ({"rope_parameters": LONGROPE}, 4096),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 4096}, 4096),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": -1}, None),
    ],
)
def test_a_longrope_context_ends_where_its_angles_change(config: dict[str, object], limit: int | None) -> None:
    assert longest_sequence(config) == limit
