"""Whether a model takes the id that a request gives its sequence: Triton (2.51) ends where it does not."""

from __future__ import annotations

from typing import Final

from gateway.answers.inference.models import SEQUENCE, Inference, Json, ModelVersion, OtherModels
from triton_repo.contract.errors import InvalidRequest

_ID: Final = "CONTROL_SEQUENCE_CORRID"
_TEXT: Final = "TYPE_STRING"


async def check_sequence(inference: Inference, models: OtherModels) -> None:
    """A model that is not told the ids of its sequences takes any; an ensemble hands its own on to its steps.

    Raises:
        InvalidRequest: a model is told ids of the other kind, texts or numbers.
        RequestError: Triton cannot tell.
    """
    given = inference.parameters.get(SEQUENCE)
    for datatype in await _id_types(inference.model, models):
        if isinstance(given, str) != (datatype == _TEXT):
            kind = "a text" if datatype == _TEXT else "a number"
            rule = f"must be {kind}: the model takes its sequences' ids as {datatype.removeprefix('TYPE_')}"
            raise InvalidRequest(f"parameters.{SEQUENCE}: {rule}", f"parameters.{SEQUENCE}")


async def _id_types(model: ModelVersion, models: OtherModels) -> list[str]:
    configuration = await models.configuration(model)
    types = _own_id_types(configuration)
    for step in configuration.get("ensemble_scheduling", {}).get("step", []):
        types += await _id_types(ModelVersion(step["model_name"]), models)
    return types


def _own_id_types(configuration: Json) -> list[str]:
    inputs = configuration.get("sequence_batching", {}).get("control_input", [])
    controls = [control for each in inputs for control in each.get("control", [])]
    return [control["data_type"] for control in controls if control.get("kind") == _ID]
