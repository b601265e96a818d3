"""POST /v1/embeddings."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Final, Literal

import numpy as np
import orjson
from pydantic import BaseModel, Field

from gateway.answers.encoding import EncodingRequest, Numbers
from gateway.answers.events import Usage
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Head
from gateway.dialects.openai.encodings.operation import EncoderBody, InputField, UsageFields, usage_json
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.model_card import ModelCard

_LEAST: Final = 1e-12  # the length that a vector of zeros counts as, as torch's `normalize` has it


class EmbeddingBody(EncoderBody):
    """`dimensions` cuts embeddings to their first numbers, of models that say that this is possible.

    `prompt_name` names one of the model's prompts, which is put before each text.
    """

    input: InputField
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    prompt_name: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    def request(self, card: ModelCard) -> EncodingRequest:
        card.check_kind(self.model, "embed")
        self._check_dimensions(card)
        rows, are_ids = self.input
        options = self.options(prompt_name=self.prompt_name)
        return EncodingRequest(self.model, ("embed",), rows, are_ids=are_ids, options=options)

    def answer(self, head: Head, numbers: Numbers, usage: Usage, card: ModelCard) -> bytes:  # noqa: ARG002
        if self.dimensions is not None and self.dimensions < numbers.shape[1]:
            numbers = normalized(numbers[:, : self.dimensions])
        rows: Any = [b64encode(row).decode() for row in numbers] if self.encoding_format == "base64" else numbers
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        answer = {"object": "list", "data": data, "model": head.model, "usage": usage_json(usage)}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

    def _check_dimensions(self, card: ModelCard) -> None:
        asked, encoder = self.dimensions, card.encoder
        if asked is None or encoder is None:
            return
        width, shorter = encoder.width, encoder.shorter_widths
        if asked != width and not (asked < width if shorter == () else asked in (shorter or ())):
            sizes = ", ".join(map(str, sorted({*(shorter or ()), width})))
            rule = f"1 to {width}" if shorter == () else sizes
            raise InvalidRequest(
                f"dimensions = {asked}: an embedding of this model may have {rule} numbers", "dimensions"
            )


class EmbeddingFields(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str  # base64 of its 32-bit floats, little-endian


class EmbeddingAnswer(BaseModel):
    object: Literal["list"]
    data: list[EmbeddingFields]
    model: str
    usage: UsageFields


class Embeddings:
    paths: Final = ("/v1/embeddings",)
    body: Final = EmbeddingBody
    answer: Final = EmbeddingAnswer

    def parse(self, fields: dict[str, Any]) -> EmbeddingBody:
        return parse_body(EmbeddingBody, fields)


def normalized(numbers: Numbers) -> Numbers:
    """Each row with length 1."""
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    result: Numbers = numbers / np.maximum(lengths, _LEAST)
    return result
