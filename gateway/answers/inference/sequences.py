"""Whether a model takes the id that a request gives its sequence: Triton (2.51) ends where it does not."""

from __future__ import annotations

from typing import Final

from gateway.answers.inference.models import SEQUENCE, Inference, Json
from triton_repo.contract.errors import InvalidRequest

_ID: Final = "CONTROL_SEQUENCE_CORRID"
_TEXT: Final = "TYPE_STRING"


def check_sequence(inference: Inference, configuration: Json) -> None:
    """`configuration` is the model's; one that is not told the ids of its sequences takes any.

    Raises:
        InvalidRequest: the model is told ids of the other kind, texts or numbers.
    """
    given = inference.parameters.get(SEQUENCE)
    for datatype in _id_types(configuration):
        if isinstance(given, str) != (datatype == _TEXT):
            kind = "a text" if datatype == _TEXT else "a number"
            rule = f"must be {kind}: the model takes its sequences' ids as {datatype.removeprefix('TYPE_')}"
            raise InvalidRequest(f"parameters.{SEQUENCE}: {rule}", f"parameters.{SEQUENCE}")


def _id_types(configuration: Json) -> list[str]:
    inputs = configuration.get("sequence_batching", {}).get("control_input", [])
    controls = [control for each in inputs for control in each.get("control", [])]
    return [control["data_type"] for control in controls if control.get("kind") == _ID]
