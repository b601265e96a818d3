"""GET /v1/models/{id}/capabilities: what a model honours, within which bounds, and what it rejects and why.

All of it is read from what validation itself uses: the models of the request bodies, the tables of parameters that no
engine here has, and the model's card, which the build writes from the runtime's table of capabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from gateway.answers.parsing import reads_calls
from gateway.dialects.openai.envelope import OPENAI
from gateway.dialects.openai.parameters import rejected_parameters
from gateway.dialects.openai.requests.response_format import FormedRequest
from gateway.endpoints.routes import OPERATIONS
from triton_repo.contract.logprobs import NO_PROMPT_LOGPROBS
from triton_repo.contract.model_card import ModelCard
from triton_repo.contract.sampling import (
    GUIDE_FIELDS,
    LOGPROBS_FIELD,
    NEUTRAL,
    PRIORITY_FIELD,
    PROMPT_LOGPROBS_FIELD,
    Sampling,
)

Status = Literal["honoured", "bounded", "rejected"]

_GUIDED: Final = frozenset(FormedRequest.model_fields) - frozenset(Sampling.model_fields) | {"output_config"}
_LENGTHS: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_TOOLS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"})
_LACKING: Final = {
    "messages": "the model has no chat template",
    PROMPT_LOGPROBS_FIELD: f"the model {NO_PROMPT_LOGPROBS}",
}
_BOUNDS: Final = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "maxLength",
    "maxItems",
    "enum",
    "const",
)


class Parameter(BaseModel):
    """What becomes of one field of a body.

    Attributes:
        bounds: the keywords of JSON schema that a value must satisfy.
        accepts: values of a rejected parameter that ask for nothing, and so pass.
    """

    status: Status
    reason: str | None = None
    bounds: dict[str, Any] = Field(default_factory=dict)
    accepts: list[Any] = Field(default_factory=list)


class Capabilities(BaseModel):
    """What requests to one model may ask for, by path. Fields that are not listed are ignored, and answers say so."""

    id: str
    object: Literal["model.capabilities"] = "model.capabilities"
    runtime: str
    max_model_len: int
    chat: bool
    tool_parser: str | None
    reasoning_parser: str | None
    endpoints: dict[str, dict[str, Parameter]]


def capabilities(name: str, card: ModelCard) -> Capabilities:
    return Capabilities(
        id=name,
        runtime=card.runtime,
        max_model_len=card.max_seq_len,
        chat=card.chat,
        tool_parser=card.tool_parser,
        reasoning_parser=card.reasoning.parser if card.reasoning else None,
        endpoints={path: dict(_parameters(path, card)) for path in OPERATIONS},
    )


def _parameters(path: str, card: ModelCard) -> Iterator[tuple[str, Parameter]]:
    operation = OPERATIONS[path]
    if operation.dialect is OPENAI:
        for name, (reason, accepts) in rejected_parameters(operation.body).items():
            yield name, Parameter(status="rejected", reason=reason, accepts=list(accepts))
    for name, bounds in _bounds_of(operation.body).items():
        yield name, _of_model(name, bounds, card)


def _of_model(name: str, bounds: Mapping[str, Any], card: ModelCard) -> Parameter:
    if reason := _why_rejected(name, card):
        return Parameter(status="rejected", reason=reason, accepts=_neutral(name))
    limits = dict(bounds)
    if name in _LENGTHS:
        limits["maximum"] = card.max_seq_len - 1
    if name == "top_logprobs":
        limits["maximum"] = min(card.max_logprobs, limits.get("maximum", card.max_logprobs))
    if name == PROMPT_LOGPROBS_FIELD:
        limits["maximum"] = min(card.max_prompt_logprobs or 0, limits["maximum"])
    return Parameter(status="bounded" if limits else "honoured", bounds=limits)


def _why_rejected(name: str, card: ModelCard) -> str | None:
    runtime = f"the {card.runtime} runtime of this model cannot do this"
    lacking = {"messages": not card.chat, PROMPT_LOGPROBS_FIELD: card.max_prompt_logprobs is None}
    if lacking.get(name):
        return _LACKING[name]
    if name in _GUIDED:
        return runtime if GUIDE_FIELDS[0] in card.unsupported else None
    if name == "top_logprobs":
        return runtime if LOGPROBS_FIELD in card.unsupported else None
    if name in _TOOLS and not reads_calls(card):
        return "the model has no parser of tool calls; its spec may name one, serve.tool_parser"
    if name != PRIORITY_FIELD and name in Sampling.model_fields and name in card.rejected:
        return runtime
    return None


def _neutral(name: str) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in NEUTRAL.get(name, ())]


@cache
def _bounds_of(body: type[BaseModel]) -> Mapping[str, Mapping[str, Any]]:
    """The bounds of each field, from the JSON schema of the body."""
    schema = body.model_json_schema()
    return {name: _bounds(field) for name, field in schema["properties"].items()}


def _bounds(field: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the field itself, or of the one form it has besides null."""
    forms: Sequence[Mapping[str, Any]] = [form for form in field.get("anyOf", [field]) if form.get("type") != "null"]
    return {key: forms[0][key] for key in _BOUNDS if key in forms[0]} if len(forms) == 1 else {}
