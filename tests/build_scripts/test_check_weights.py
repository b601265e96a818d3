"""Weights that are not those of their `config.json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from build_scripts.architectures import check_weights, decoder_of
from build_scripts.weights.huggingface import open_huggingface
from tests.build_scripts.checkpoints import write_plain
from tests.build_scripts.test_architectures import PLAIN
from triton_repo.contract.errors import BuildError

Weights = dict[str, torch.Tensor]
NORM = "model.layers.1.input_layernorm.weight"


def _reshape(weights: Weights) -> None:
    weights[NORM] = torch.ones(47)


def _integers(weights: Weights) -> None:
    weights[NORM] = torch.ones(48, dtype=torch.int8)


def _without_layer(weights: Weights) -> None:
    for name in [name for name in weights if ".layers.1." in name]:
        del weights[name]


WRONG: dict[str, tuple[Callable[[Weights], object], str]] = {
    "one is missing": (lambda w: w.pop(NORM), f"tiny: 1 weight is missing: {NORM}"),
    "a layer is missing": (_without_layer, "tiny: 9 weights are missing: model.layers.1.input_layernorm.weight, "),
    "one is surplus": (
        lambda w: w.update({"model.layers.9.x": torch.ones(1)}),
        "tiny: 1 weight is more than the configuration has: model.layers.9.x",
    ),
    "one has another shape": (_reshape, f"{NORM}: shape [47]; config.json asks [48]"),
    "one is of integers": (_integers, f"{NORM}: dtype int8; allowed: float32, float16, bfloat16"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_weights_that_are_not_the_configurations_are_refused_by_name(tmp_path: Path, wrong: str) -> None:
    spoil, complaint = WRONG[wrong]
    decoder = decoder_of(PLAIN, "tiny")
    weights = {name: torch.ones(shape) for name, shape in decoder.weight_shapes().items()}
    spoil(weights)
    view = open_huggingface(write_plain(tmp_path / "checkpoint", PLAIN, weights), "tiny")
    with pytest.raises(BuildError) as refused:
        check_weights(decoder, view.weights, view.source)
    assert complaint in str(refused.value)


def test_tables_that_can_be_computed_and_a_second_tied_head_are_allowed(tmp_path: Path) -> None:
    config = {**PLAIN, "tie_word_embeddings": True}
    decoder = decoder_of(config, "tiny")
    weights = {name: torch.ones(shape) for name, shape in decoder.weight_shapes().items()}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
    weights["lm_head.weight"] = torch.ones(101, 48)
    view = open_huggingface(write_plain(tmp_path / "checkpoint", config, weights), "tiny")
    check_weights(decoder, view.weights, view.source)
