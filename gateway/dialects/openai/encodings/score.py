"""POST /v1/score, as vLLM has it: how well pairs of texts go together."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any, ClassVar, Final, Literal

import orjson
from pydantic import BaseModel, Field, PlainValidator
from pydantic_core import PydanticCustomError

from gateway.answers.encoding import MAX_TEXTS, EncodingRequest, Numbers
from gateway.answers.events import Usage
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Head
from gateway.dialects.openai.encodings.operation import ScoringBody, UsageFields, usage_json
from gateway.dialects.openai.encodings.pairs import pair_request, scores
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.model_card import ModelCard

_MOST: Final = MAX_TEXTS // 2
# vLLM's own names of the two sides, of all its versions.
_NAMES: Final = (("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2"))


def _texts(value: Any) -> list[str]:
    several = value if isinstance(value, list) else [value]
    if 0 < len(several) <= _MOST and all(isinstance(text, str) and text for text in several):
        return several
    raise PydanticCustomError(
        "texts", "must be a text or a list of 1 to {max} texts, none of them empty", {"max": _MOST}
    )


_Side = Annotated[list[str], PlainValidator(_texts, json_schema_input_type=str | list[str])]


class ScoreBody(ScoringBody):
    """One text with one or several others, or as many on both sides, in pairs."""

    first_name: ClassVar[str] = "text_1[{}]"
    second_name: ClassVar[str] = "text_2[{}]"
    other_names: ClassVar[frozenset[str]] = frozenset(chain.from_iterable(_NAMES))

    text_1: _Side
    text_2: _Side

    def request(self, card: ModelCard) -> EncodingRequest:
        if len(self.text_1) not in (1, len(self.text_2)):
            rule = f"must be one text, or as many as text_2, which has {len(self.text_2)}"
            raise InvalidRequest(f"text_1 has {len(self.text_1)} texts: {rule}", "text_1")
        firsts = self.text_1 * (len(self.text_2) // len(self.text_1)) if card.kind == "embed" else self.text_1
        return pair_request(self, card, firsts, self.text_2)

    def answer(self, head: Head, numbers: Numbers, usage: Usage, card: ModelCard) -> bytes:
        found = scores(numbers, card, len(self.text_2))
        data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(found)]
        ids = {"id": f"score-{head.id}", "object": "list", "created": head.created, "model": head.model}
        return orjson.dumps({**ids, "data": data, "usage": usage_json(usage)})


class ScoreFields(BaseModel):
    index: int
    object: Literal["score"]
    score: float


class ScoreAnswer(BaseModel):
    id: str
    object: Literal["list"]
    created: int
    model: str
    data: Annotated[list[ScoreFields], Field(min_length=1)]
    usage: UsageFields


class Score:
    paths: Final = ("/v1/score", "/score")
    body: Final = ScoreBody
    answer: Final = ScoreAnswer

    def parse(self, fields: dict[str, Any]) -> ScoreBody:
        return parse_body(ScoreBody, _by_first_names(fields))


def _by_first_names(fields: dict[str, Any]) -> dict[str, Any]:
    (first, second), *others = _NAMES
    for names in others:
        if first not in fields and second not in fields and any(name in fields for name in names):
            return {
                **fields,
                **{ours: fields[theirs] for ours, theirs in zip(_NAMES[0], names, strict=True) if theirs in fields},
            }
    return fields
