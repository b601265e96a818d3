"""POST /v1/rerank, as Jina and Cohere have it: documents in the order in which they answer a query."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import BaseModel, BeforeValidator, Field

from gateway.answers.encoding import MAX_TEXTS, EncodingRequest, Numbers
from gateway.answers.events import Usage
from gateway.dialects.body import parse_body
from gateway.dialects.dialect import Head
from gateway.dialects.openai.encodings.operation import ScoringBody, TextField, UsageFields, usage_json
from gateway.dialects.openai.encodings.pairs import pair_request, scores
from triton_repo.contract.model_card import ModelCard


def _text(value: Any) -> Any:
    """A document may be an object with its text."""
    return value.get("text") if isinstance(value, dict) else value


Document = Annotated[TextField, BeforeValidator(_text, json_schema_input_type=str | dict[str, str])]


class RerankBody(ScoringBody):
    """`top_n` is how many documents are listed, the best ones; without `return_documents` false each has its text."""

    first_name: ClassVar[str] = "query"
    second_name: ClassVar[str] = "documents[{}]"

    query: TextField
    documents: Annotated[list[Document], Field(min_length=1, max_length=MAX_TEXTS - 1, fail_fast=True)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None

    def request(self, card: ModelCard) -> EncodingRequest:
        return pair_request(self, card, [self.query], self.documents)

    def answer(self, head: Head, numbers: Numbers, usage: Usage, card: ModelCard) -> bytes:
        found = scores(numbers, card, len(self.documents))
        order = sorted(range(len(found)), key=lambda index: (-found[index], index))[: self.top_n]
        results = [{"index": index, "relevance_score": found[index]} | self._document(index) for index in order]
        answer = {"id": f"rerank-{head.id}", "model": head.model, "usage": usage_json(usage), "results": results}
        return orjson.dumps(answer)

    def _document(self, index: int) -> dict[str, Any]:
        return {} if self.return_documents is False else {"document": {"text": self.documents[index]}}


class DocumentFields(BaseModel):
    text: str


class RankFields(BaseModel):
    index: int
    relevance_score: float
    document: DocumentFields | None = None


class RerankAnswer(BaseModel):
    id: str
    model: str
    usage: UsageFields
    results: list[RankFields]


class Rerank:
    paths: Final = ("/v1/rerank", "/v2/rerank", "/rerank")
    body: Final = RerankBody
    answer: Final = RerankAnswer

    def parse(self, fields: dict[str, Any]) -> RerankBody:
        return parse_body(RerankBody, fields)
