"""What one request may ask of the engine: names, types and ranges, declared once for every front end.

The gateway validates OpenAI bodies with these fields, and the engine model validates every request that reaches it
through Triton again, so that no front end can accept a value that another rejects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import Repr
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from triton_repo.contract.errors import InvalidRequest, UnsupportedParameter

INT32_MAX = 2**31 - 1

Count = Annotated[int, Field(ge=1, le=INT32_MAX)]
TokenId = Annotated[int, Field(ge=0, le=INT32_MAX)]
GuideType = Literal["json", "json_schema", "regex", "ebnf_grammar", "structural_tag"]
MAX_GUIDE_LENGTH: Final = 1 << 16  # characters
MAX_LOGPROBS: Final = 20  # OpenAI's
MAX_BIASES: Final = 1024  # OpenAI allows 300
ADAPTER_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
CACHE_SALT: Final = r"^[A-Za-z0-9_.-]{1,128}$"


def _few(value: Any) -> Any:
    """Counted before they are validated, which costs far more."""
    if isinstance(value, Mapping) and len(value) > MAX_BIASES:
        raise PydanticCustomError("logit_bias", "may have at most {most} tokens", {"most": MAX_BIASES})
    return value


Bias = Annotated[float, Field(ge=-100, le=100)]  # OpenAI's range
LogitBias = Annotated[dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Bias], BeforeValidator(_few)]


class Guide(NamedTuple):
    """What an answer must look like: the two fields of a request. Only `json` has no text."""

    kind: GuideType
    text: str | None


class Sampling(BaseModel):
    """Sampling parameters of one request; None means the engine's default.

    `temperature` 0 is greedy decoding. `max_tokens` None is the room that the prompt leaves in `max_seq_len`.
    `top_k` 0 or -1 switches it off, as in vLLM. Ranges of the penalties are OpenAI's, the others are those of
    vLLM and TensorRT-LLM. A guide is the grammar that an answer must match; its two fields are those of NVIDIA's
    ensemble. `lora_name` is one of the engine's adapters. `logprobs` None asks for none, 0 for those of the tokens
    alone, n also for those of the n most likely tokens at each position; `prompt_logprobs` is the same of the prompt.
    Of the requests that wait for the engine those of higher `priority` go first (0 to 1, 0.5 where it is left out);
    only those with the same `cache_salt` share the cache of their prompts. `logit_bias` is what is added to the logits
    of tokens, by their ids as text.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    max_tokens: Count | None = None
    min_tokens: TokenId | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=INT32_MAX)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**64 - 1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[tuple[TokenId, ...], Field(max_length=64, strict=False, fail_fast=True)] | None = None
    guided_decoding_guide_type: GuideType | None = None
    guided_decoding_guide: Annotated[str, Field(min_length=1, max_length=MAX_GUIDE_LENGTH)] | None = None
    lora_name: Annotated[str, Field(pattern=ADAPTER_NAME)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    priority: Annotated[float, Field(ge=0, le=1)] | None = None
    cache_salt: Annotated[str, Field(pattern=CACHE_SALT)] | None = None
    logit_bias: LogitBias | None = None

    @property
    def guide(self) -> Guide | None:
        kind = self.guided_decoding_guide_type
        return None if kind is None else Guide(kind, self.guided_decoding_guide)

    def guided_by(self, guide: Guide) -> Sampling:
        return self.model_copy(update=dict(zip(GUIDE_FIELDS, guide, strict=True)))


GUIDE_FIELDS: Final = ("guided_decoding_guide_type", "guided_decoding_guide")
ADAPTER_FIELD: Final = "lora_name"
LOGPROBS_FIELD: Final = "logprobs"
PROMPT_LOGPROBS_FIELD: Final = "prompt_logprobs"
PRIORITY_FIELD: Final = "priority"
CACHE_SALT_FIELD: Final = "cache_salt"
LOGIT_BIAS_FIELD: Final = "logit_bias"
# Per-request fields: no engine has a default for them.
REQUEST_FIELDS: Final = (
    *GUIDE_FIELDS,
    ADAPTER_FIELD,
    LOGPROBS_FIELD,
    PROMPT_LOGPROBS_FIELD,
    PRIORITY_FIELD,
    CACHE_SALT_FIELD,
    LOGIT_BIAS_FIELD,
)

# Sampling field -> the values that ask an engine for nothing; clients that always send them are not rejected.
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "ignore_eos": (False,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "presence_penalty": (0,),
    "priority": (0, 0.5),  # 0 is vLLM's default
    "repetition_penalty": (1,),
    "stop_token_ids": ((),),
    "temperature": (0,),
    "top_k": (0, -1),
    "top_p": (1,),
}


def without_unsupported(sampling: Sampling, unsupported: Iterable[str], runtime: str) -> Sampling:
    """What a request asks for, without the fields that its engine cannot honour and that ask for nothing.

    Args:
        unsupported: the fields that the engine cannot honour.
        runtime: what the error calls the engine.

    Raises:
        UnsupportedParameter: one of them asks for something.
    """
    given = [name for name in unsupported if getattr(sampling, name, None) is not None]
    for name in given:
        if getattr(sampling, name) not in NEUTRAL.get(name, ()):
            raise UnsupportedParameter(f"{name}: {runtime} cannot do this", name)
    return sampling.model_copy(update=dict.fromkeys(given)) if given else sampling


_REPR = Repr()  # bounded in length and depth: the repr of a value nested a thousand deep would itself fail
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlevel = 2


UNSUPPORTED: Final = "unsupported_parameter"  # type of a validator's error about what no engine here does


def invalid_request(error: ValidationError) -> InvalidRequest:
    """The first error of a pydantic validation as the error that a client sees: parameter, value, rule."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "tagged-"))]
    param = path[0] if path else None
    shown = _REPR.repr(first["input"])
    where = ".".join(path) or "request"
    if first["type"] == "missing":
        return InvalidRequest(f"{where}: a value is required", param)
    if first["type"] == UNSUPPORTED:
        return UnsupportedParameter(f"{where}: {first['msg']}", param)
    return InvalidRequest(f"{where} = {shown}: {first['msg']}", param)
