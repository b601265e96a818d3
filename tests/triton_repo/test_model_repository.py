"""The rendered repository is Triton's own schema, and agrees with the tables that everything reads."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from tests.triton_repo.engines_under_test import engine_config
from triton_repo.contract import steps, tensors
from triton_repo.contract.model_card import CARD_PARAMETER, ModelCard
from triton_repo.contract.tensors import Tensor
from triton_repo.model_repository import render

GOLDEN = Path(__file__).with_name("golden")
CONFIG = engine_config(name="tiny")
FILES = render(CONFIG)
TYPES = {
    "BYTES": pb.TYPE_STRING,
    "BOOL": pb.TYPE_BOOL,
    "INT32": pb.TYPE_INT32,
    "UINT64": pb.TYPE_UINT64,
    "FP16": pb.TYPE_FP16,
    "FP32": pb.TYPE_FP32,
}


def parse(model: str) -> pb.ModelConfig:
    return text_format.Parse(FILES[PurePosixPath(model, "config.pbtxt")], pb.ModelConfig())


@pytest.mark.parametrize("model", ["tiny", "tiny_preprocess", "tiny_engine", "tiny_detokenize"])
def test_config_pbtxt_is_byte_for_byte_as_reviewed(model: str) -> None:
    assert FILES[PurePosixPath(model, "config.pbtxt")].decode() == (GOLDEN / f"{model}.pbtxt").read_text()


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        ("tiny", steps.ENSEMBLE_INPUTS, steps.ENSEMBLE_OUTPUTS),
        ("tiny_preprocess", steps.PREPROCESS_INPUTS, steps.PREPROCESS_OUTPUTS + steps.TOKENIZE_OUTPUTS),
        ("tiny_engine", steps.ENGINE_INPUTS, steps.ENGINE_OUTPUTS),
        ("tiny_detokenize", steps.DETOKENIZE_INPUTS, steps.DETOKENIZE_OUTPUTS),
    ],
)
def test_every_tensor_has_the_name_type_and_shape_of_the_table(
    model: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> None:
    config = parse(model)
    assert config.name == model
    assert [(i.name, i.data_type, tuple(i.dims), i.optional) for i in config.input] == [
        (t.name, TYPES[t.datatype], t.dims, t.optional) for t in inputs
    ]
    assert [(o.name, o.data_type, tuple(o.dims)) for o in config.output] == [
        (t.name, TYPES[t.datatype], t.dims) for t in outputs
    ]


def test_the_ensemble_feeds_every_step_from_the_client_or_from_a_step_before() -> None:
    ensemble = parse("tiny")
    known = {tensor.name for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        wanted = {tensor.name for tensor in parse(step.model_name).input} - {tensors.STOP.name}
        assert set(step.input_map) == wanted
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert {tensor.name for tensor in ensemble.output} <= known
    used = {name for step in ensemble.ensemble_scheduling.step for name in step.input_map.values()}
    assert {tensor.name for tensor in ensemble.input} <= used, "Triton rejects an ensemble input that no step uses"


def test_the_model_card_travels_in_the_ensembles_parameters() -> None:
    card = ModelCard.from_json(parse("tiny").parameters[CARD_PARAMETER].string_value)
    assert card == CONFIG.card


def test_nothing_in_the_repository_names_an_absolute_path() -> None:
    root = str(Path(__file__).parents[2]).encode()
    assert not any(root in content for content in FILES.values())


def test_sampling_fields_are_tensors_or_parameters_and_never_both() -> None:
    as_tensors = {tensor.name for tensor in tensors.SAMPLING_TENSORS}
    assert as_tensors.isdisjoint(tensors.SAMPLING_PARAMETERS)
    from triton_repo.contract.sampling import Sampling

    assert as_tensors | set(tensors.SAMPLING_PARAMETERS) == set(Sampling.model_fields)
