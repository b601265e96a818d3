"""The body of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.answers.backend import Prompt, PromptIds, PromptText
from gateway.answers.request import MAX_GENERATIONS
from gateway.dialects.openai.requests.generation import GenerationRequest, whole_number
from gateway.dialects.openai.requests.texts_or_ids import TextsOrIds, texts_or_ids
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import INT32_MAX, Sampling
from triton_repo.contract.tensors import Echo

MAX_COMPLETION_LOGPROBS: Final = 5  # of the legacy format
MAX_PROMPT_IDS: Final = 2**20  # of all prompts together: beyond any context, and validation takes 50 ms


def _prompts(value: Any) -> list[PromptText] | list[PromptIds]:
    several = texts_or_ids(value, "prompt", MAX_GENERATIONS, MAX_PROMPT_IDS)
    return [PromptIds(each) if isinstance(each, bytes) else PromptText(each) for each in several]  # type: ignore[return-value]


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: Annotated[list[PromptText] | list[PromptIds], PlainValidator(_prompts, json_schema_input_type=TextsOrIds)]
    prompt_token_ids: Any = None  # one prompt in TensorRT-LLM's words
    add_special_tokens: bool | None = None
    echo: bool | None = None
    max_tokens: Annotated[int, Field(ge=-1, le=INT32_MAX), BeforeValidator(whole_number)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_COMPLETION_LOGPROBS)] | None = None
    top_logprobs: Literal[0] | None = None  # the chat's name for it; only 0 is accepted here

    @model_validator(mode="before")
    @classmethod
    def _one_name_of_the_prompt(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("prompt_token_ids") is None or fields.get("prompt") is not None:
            return fields
        ids = fields["prompt_token_ids"]
        return {**fields, "prompt": [ids] if isinstance(ids, list) else None}

    @field_validator("prompt_token_ids")
    @classmethod
    def _instead_of_prompt(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("prompt") not in (None, _prompts([value])):
            raise PydanticCustomError("prompt_token_ids", "not possible together with prompt")
        return value

    @field_validator("best_of")
    @classmethod
    def _as_many_as_n(cls, value: int | None, info: ValidationInfo) -> int | None:
        num_kept = info.data.get("n") or 1
        if value is not None and value < num_kept:
            raise PydanticCustomError("best_of", "must be ≥ n")
        if value is not None and value > num_kept and info.data.get("stream"):
            raise PydanticCustomError("best_of", "must be n in a stream: answers are ranked once they are complete")
        return value

    @property
    def echo_of(self) -> Echo:
        """Raises: InvalidRequest: there would be nothing in the answer."""
        if self.max_tokens == 0 and not self.echo:
            rule = "must be at least 1, or -1 for no limit; with echo, 0 gives the prompt alone"
            raise InvalidRequest(f"max_tokens = 0: {rule}", "max_tokens")
        return "" if not self.echo else "prompt" if self.max_tokens == 0 else "all"

    @property
    def token_limit(self) -> int | None:
        return 1 if self.max_tokens == 0 else self.max_tokens

    @property
    def num_choices(self) -> int:
        return self.best_of or self.num_kept

    @property
    def num_kept(self) -> int:
        """Answers to each prompt; of more choices the likeliest."""
        return self.n or 1

    @property
    def sent_as(self) -> dict[str, str]:
        """Names of an engine's parameters that this body has under other names."""
        ranks = self.logprobs is None and self.num_choices > self.num_kept
        return {**self.form_sent_as, **({"logprobs": "best_of"} if ranks else {})}

    def sampling(self, **changes: Any) -> Sampling:
        if self.logprobs is None and self.num_choices > self.num_kept:
            changes["logprobs"] = 0  # answers are ranked by them
        return super().sampling(**changes)

    @property
    def prompts(self) -> list[Prompt]:
        special = self.add_special_tokens
        if special is None:
            return [*self.prompt]
        return [PromptText(it.text, special) if isinstance(it, PromptText) else it for it in self.prompt]
