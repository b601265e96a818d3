"""The counts and the logprobs in the answers of OpenAI's generating endpoints.

The encoders build these types, and the API's description is made from them.
"""

from __future__ import annotations

from typing import (
    Annotated,
    NotRequired,  # of typing: pydantic takes it from Python 3.12 on
)

import orjson
from pydantic import GetPydanticSchema
from typing_extensions import TypedDict


class PromptTokensDetails(TypedDict):
    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    reasoning_tokens: int


class CompletionUsage(TypedDict):
    """Details are there where the engine reports them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: NotRequired[PromptTokensDetails]
    completion_tokens_details: NotRequired[CompletionTokensDetails]


class TopLogprob(TypedDict):
    """`token` is the text of a token; `bytes` are those of its UTF-8, of which it may have only a part."""

    token: str
    logprob: float | None
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the answer, and the likeliest ones at its place."""

    top_logprobs: list[TopLogprob]


# It comes from the detokenizer as JSON, and is sent as it is.
TokenEntry = Annotated[orjson.Fragment, GetPydanticSchema(lambda _, schema_of: schema_of(TokenLogprob))]


class PromptLogprob(TypedDict):
    """`rank` is how likely the token is among all, 1 the likeliest; null where the engine does not tell."""

    logprob: float
    rank: int | None
    decoded_token: str


# Also from the detokenizer: of each token of the prompt, but for the first, itself and the likeliest ones, by id.
PromptLogprobs = Annotated[
    orjson.Fragment, GetPydanticSchema(lambda _, schema_of: schema_of(list[dict[str, PromptLogprob] | None] | None))
]


class OfChoice(TypedDict, total=False):
    """`stop_reason` is the stop string that ended it. `token_ids` are those that the engine has generated, the one that
    ended the answer included."""

    stop_reason: str
    token_ids: list[int]


class OfPrompt(TypedDict, total=False):
    """What vLLM's parameters `return_token_ids` and `prompt_logprobs` ask for."""

    prompt_token_ids: list[int]
    prompt_logprobs: PromptLogprobs


class ChatLogprobs(TypedDict):
    content: list[TokenEntry]
    refusal: None


class CompletionLogprobs(TypedDict):
    """Of each token its text, its logprob (the first of a prompt has none), the likeliest ones at its place by their
    text, and where in the text it begins, in characters."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
