"""The Triton configuration of the ensemble NAME: which tensor flows from which step to which."""

from __future__ import annotations

from collections.abc import Iterable

from tritonclient.grpc import model_config_pb2 as pb

from triton_repo.contract.model_card import CARD_PARAMETER, ModelCard
from triton_repo.contract.steps import (
    DETOKENIZE_INPUTS,
    DETOKENIZE_OUTPUTS,
    ENGINE_INPUTS,
    ENGINE_OUTPUTS,
    ENSEMBLE_INPUTS,
    ENSEMBLE_OUTPUTS,
    PREPROCESS_INPUTS,
    PREPROCESS_OUTPUTS,
    step_model,
)
from triton_repo.contract.tensors import MAX_ROWS, STOP, Tensor
from triton_repo.model_config import model_input, model_output

# A tensor has the same name in every step, so steps are wired by name alone. `stop` is the one input of a step that the
# ensemble does not have: a cancellation is sent to NAME_engine itself.
_WIRING: tuple[tuple[str, tuple[Tensor, ...], tuple[Tensor, ...]], ...] = (
    ("preprocess", PREPROCESS_INPUTS, PREPROCESS_OUTPUTS),
    ("engine", tuple(tensor for tensor in ENGINE_INPUTS if tensor is not STOP), ENGINE_OUTPUTS),
    ("detokenize", DETOKENIZE_INPUTS, DETOKENIZE_OUTPUTS),
)


def model_config(engine: str, card: ModelCard) -> pb.ModelConfig:
    """The ensemble takes up to `MAX_ROWS` rows per request; its steps batch requests on their own."""
    return pb.ModelConfig(
        name=engine,
        platform="ensemble",
        max_batch_size=MAX_ROWS,
        input=[model_input(tensor) for tensor in ENSEMBLE_INPUTS],
        output=[model_output(tensor) for tensor in ENSEMBLE_OUTPUTS],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                pb.ModelEnsembling.Step(
                    model_name=step_model(engine, step),
                    model_version=-1,
                    input_map=_by_name(inputs),
                    output_map=_by_name(outputs),
                )
                for step, inputs, outputs in _WIRING
            ]
        ),
        parameters={CARD_PARAMETER: pb.ModelParameter(string_value=card.to_json())},
    )


def _by_name(tensors: Iterable[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.name for tensor in tensors}
