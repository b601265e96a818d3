"""The bodies of POST /tokenize and /detokenize, and their answers, as vLLM has them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, PlainValidator, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from gateway.answers.backend import PromptIds
from gateway.dialects.body import ModelName
from triton_repo.contract.sampling import INT32_MAX

MAX_IDS: Final = 2**20


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TokenizeRequest(_Value):
    """A text, or a conversation, which is taken as POST /v1/chat/completions takes it, with its other fields."""

    model: ModelName
    prompt: str | None = None
    messages: list[Any] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("prompt", "send either prompt or messages")
        return self


class TokenizeResponse(TypedDict):
    """`token_strs` are pieces of the vocabulary, as its files write them."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


def _packed(value: Any) -> PromptIds:
    """By hand: pydantic would take half a second over the ids of a large body."""
    are_ids = isinstance(value, list) and len(value) <= MAX_IDS and {*map(type, value)} <= {int}
    if are_ids and 0 <= min(value, default=0) <= max(value, default=0) <= INT32_MAX:
        return PromptIds.of(value)
    raise PydanticCustomError("tokens", "must be a list of at most {max} token ids", {"max": MAX_IDS})


class DetokenizeRequest(_Value):
    model: ModelName
    tokens: Annotated[PromptIds, PlainValidator(_packed, json_schema_input_type=list[int])]


class DetokenizeResponse(TypedDict):
    """The text of all tokens, special ones included."""

    prompt: str


class RenderedPrompt(TypedDict):
    """A prompt as its engine would get it.

    Its form is that of vLLM's GenerateRequest; `text` is what the chat template wrote.
    """

    request_id: str
    model: str
    token_ids: list[int]
    text: str
    features: None
    sampling_params: dict[str, Any]
    stream: bool
    cache_salt: str | None
