"""Bodies of POST /v2/models/{model}/infer: JSON, or JSON and the bytes of tensors behind it (Triton's binary tensors).

Triton is never given JSON: lists become bytes here, of the type and shape that they are said to have.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from gateway.answers.inference.models import Inference, ModelVersion, Wanted
from gateway.answers.inference.tensor import BYTES, CODES, Datatype, Parameter, Tensor, join_strings, kinds
from gateway.dialects.body import parse_body
from triton_repo.contract.errors import InvalidRequest

BINARY_SIZE: Final = "binary_data_size"
BINARY: Final = "binary_data"
ALL_BINARY: Final = "binary_data_output"

_MAX_DIMENSIONS: Final = 32
_SHARED_MEMORY: Final = "shared_memory"

_Int = Annotated[StrictInt, Field(ge=-(2**63), lt=2**64)]
Parameters = dict[str, StrictBool | _Int | StrictFloat | StrictStr]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: Parameters = Field(default={})

    @model_validator(mode="after")
    def _has_no_shared_memory(self) -> Self:
        """It would be this machine's memory, which no client has a part in."""
        if names := [name for name in self.parameters if name.startswith(_SHARED_MEMORY)]:
            raise ValueError(f"{names[0]}: shared memory is not served")
        return self


class InferInput(_Strict):
    """`data` is one list, or lists within lists as `shape` says; without it the content stands behind the JSON."""

    name: StrictStr
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0, lt=2**63)]], Field(max_length=_MAX_DIMENSIONS)]
    datatype: Datatype
    data: list[Any] | None = None


class InferOutput(_Strict):
    name: StrictStr


class InferRequest(_Strict):
    """The JSON of a body."""

    id: StrictStr = ""
    inputs: Annotated[list[InferInput], Field(min_length=1)]
    outputs: list[InferOutput] = Field(default=[])


class Form(NamedTuple):
    """Which outputs of an answer are to stand behind its JSON."""

    all_binary: bool
    by_name: dict[str, bool]

    def is_binary(self, output: str) -> bool:
        return self.by_name.get(output, self.all_binary)


def parse(model: ModelVersion, fields: dict[str, Any], binary: bytes) -> tuple[Inference, Form]:
    """`binary` is what stands behind the JSON.

    Raises:
        InvalidRequest
    """
    body = parse_body(InferRequest, fields)
    behind = _Behind(binary)
    tensors = [_tensor(number, each, behind) for number, each in enumerate(body.inputs)]
    behind.check_end()
    form = Form(
        body.parameters.get(ALL_BINARY) is True,
        {each.name: each.parameters[BINARY] is True for each in body.outputs if BINARY in each.parameters},
    )
    outputs = [Wanted(each.name, _without(each.parameters, BINARY)) for each in body.outputs]
    return Inference(model, body.id, _without(body.parameters, ALL_BINARY), tensors, outputs), form


class _Behind:
    """The bytes behind the JSON, which the tensors have one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def take(self, num_bytes: int) -> bytes:
        """Raises: ValueError: there are not so many."""
        end = self._place + num_bytes
        if num_bytes < 0 or end > len(self._content):
            left = len(self._content) - self._place
            raise ValueError(f"{BINARY_SIZE} = {num_bytes}: {left} bytes are left behind the JSON")
        taken = self._content[self._place : end]
        self._place = end
        return taken

    def check_end(self) -> None:
        if left := len(self._content) - self._place:
            raise InvalidRequest(f"{left} bytes behind the JSON belong to no input: {BINARY_SIZE} says how many do")


def _tensor(number: int, given: InferInput, behind: _Behind) -> Tensor:
    at = f"inputs.{number}"
    try:
        content = _content(given, behind)
        parameters = _without(given.parameters, BINARY_SIZE)
        return Tensor(given.name, given.datatype, tuple(given.shape), content, parameters).check()
    except ValueError as error:
        raise InvalidRequest(f"{at}: {error}", at) from None


def _content(given: InferInput, behind: _Behind) -> bytes:
    """Raises: ValueError"""
    size = given.parameters.get(BINARY_SIZE)
    if (given.data is None) == (size is None):
        raise ValueError(f"needs either data or the parameter {BINARY_SIZE}")
    if given.data is not None:
        return pack(given.datatype, given.shape, given.data)
    if type(size) is not int:
        raise ValueError(f"{BINARY_SIZE} = {size!r}: must be a number of bytes")
    return behind.take(size)


def pack(datatype: str, shape: Sequence[int], data: list[Any]) -> bytes:
    """The bytes of a tensor.

    Raises:
        ValueError: the lists are not of the shape, or a value is not of the type.
    """
    values = _flat(shape, data)
    if datatype == "BF16":
        raise ValueError("JSON has no BF16: send its bytes behind the JSON")
    if not kinds(datatype).issuperset(map(type, values)):
        allowed = " or ".join(sorted(kind.__name__ for kind in kinds(datatype)))
        raise ValueError(f"data: every element of {datatype} must be {allowed}")
    if datatype == BYTES:
        return join_strings([value.encode() for value in values])
    try:
        return struct.pack(f"<{len(values)}{CODES[datatype]}", *values)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"data: {error}") from None


def _flat(shape: Sequence[int], data: list[Any]) -> list[Any]:
    """Nested lists as one, level by level: each is as long as the shape says."""
    for length in shape[1:]:
        if not any(type(row) is list for row in data):
            break
        if not all(type(row) is list and len(row) == length for row in data):
            raise ValueError(f"data: the lists within it are not those of shape {list(shape)}")
        data = [value for row in data for value in row]
    return data


def _without(parameters: Parameters, *names: str) -> dict[str, Parameter]:
    return {name: value for name, value in parameters.items() if name not in names}
