"""POST /v1/classify, as vLLM has it: the class of each text, and how likely each class is."""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel

from gateway.answers.encoding import EncodingRequest, Numbers
from gateway.answers.events import Usage
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Head
from gateway.dialects.openai.encodings.operation import InputField, ScoringBody, UsageFields, usage_json
from triton_repo.contract.model_card import ModelCard


class ClassifyBody(ScoringBody):
    input: InputField

    def request(self, card: ModelCard) -> EncodingRequest:  # noqa: ARG002 - every classifier takes the same
        rows, are_ids = self.input
        return EncodingRequest(self.model, ("classify",), rows, are_ids=are_ids, options=self.scoring_options())

    def answer(self, head: Head, numbers: Numbers, usage: Usage, card: ModelCard) -> bytes:
        width = numbers.shape[1]
        labels = card.encoder.labels if card.encoder else ()
        data = [
            {
                "index": index,
                "label": labels[int(row.argmax())] if len(labels) == width else f"LABEL_{row.argmax()}",
                "probs": row,
                "num_classes": width,
            }
            for index, row in enumerate(numbers)
        ]
        ids = {"id": f"classify-{head.id}", "object": "list", "created": head.created, "model": head.model}
        answer = {**ids, "data": data, "usage": usage_json(usage)}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


class ClassFields(BaseModel):
    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassifyAnswer(BaseModel):
    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[ClassFields]
    usage: UsageFields


class Classify:
    paths: Final = ("/v1/classify", "/classify")
    body: Final = ClassifyBody
    answer: Final = ClassifyAnswer

    def parse(self, fields: dict[str, Any]) -> ClassifyBody:
        return parse_body(ClassifyBody, fields)
