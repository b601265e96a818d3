"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.answers.calls.tools import TOOLS_FIELD, Tools
from gateway.answers.reasoning import Effort
from gateway.dialects.openai.messages import Messages, is_begun
from gateway.dialects.openai.requests.functions import (
    FunctionChoice,
    FunctionName,
    Functions,
    as_tool_choice,
    as_tools,
)
from gateway.dialects.openai.requests.generation import GenerationRequest, MaxTokens, whole_number
from gateway.dialects.openai.requests.tools import AnyTool, OfferedTools, ToolChoice, offered_tools
from triton_repo.contract.sampling import MAX_LOGPROBS, Sampling

MAX_TEMPLATE_ARGUMENTS_BYTES: Final = 16 * 1024
MAX_TEMPLATE_ARGUMENTS_DEPTH: Final = 253  # orjson writes 254 levels, and a prompt has them one level down


class ChatCompletionRequest(GenerationRequest):
    """POST /v1/chat/completions. `max_completion_tokens` wins over `max_tokens`.

    `logprobs` is a switch here; `top_logprobs` is what it is to an engine.
    """

    messages: Messages
    max_completion_tokens: MaxTokens | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    tools: OfferedTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: FunctionChoice | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    separate_reasoning: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    add_special_tokens: Literal[False] | None = None  # the chat template writes them

    @field_validator("top_logprobs", mode="before")
    @classmethod
    def _integral_too(cls, value: Any) -> Any:
        return whole_number(value)

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise PydanticCustomError("top_logprobs", "allowed only when logprobs is true")
        return value

    @field_validator("functions")
    @classmethod
    def _instead_of_tools(cls, value: Functions | None, info: ValidationInfo) -> Functions | None:
        if value and info.data.get("tools"):
            raise PydanticCustomError("functions", "not possible together with tools, the newer name of the same")
        return value

    @field_validator("function_call")
    @classmethod
    def _of_the_functions(cls, value: FunctionChoice | None, info: ValidationInfo) -> FunctionChoice | None:
        known = [function.name for function in info.data.get("functions") or ()]
        if isinstance(value, FunctionName) and value.name not in known:
            raise PydanticCustomError("function_call", "there is no function of this name in functions")
        return value

    @field_validator("chat_template_kwargs")
    @classmethod
    def _bounded(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and _json_size(value) > MAX_TEMPLATE_ARGUMENTS_BYTES:
            rule = (
                f"must be at most {MAX_TEMPLATE_ARGUMENTS_BYTES} bytes of JSON, "
                f"nested no deeper than {MAX_TEMPLATE_ARGUMENTS_DEPTH}"
            )
            raise PydanticCustomError("chat_template_kwargs", "{rule}", {"rule": rule})
        return value

    @field_validator("continue_final_message")
    @classmethod
    def _instead_of_a_new_one(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and info.data.get("add_generation_prompt"):
            raise PydanticCustomError("continue_final_message", "not possible together with add_generation_prompt")
        return value

    @property
    def offered(self) -> tuple[list[AnyTool], Tools | None]:
        """As `offered_tools`. Of `functions` an answer calls one at most."""
        if self.functions:
            return offered_tools(as_tools(self.functions), as_tool_choice(self.function_call), parallel=False)
        return offered_tools(self.tools, self.tool_choice, self.parallel_tool_calls)

    @property
    def ending(self) -> dict[str, bool]:
        """How the prompt ends, in words of the chat's JSON: as it does by default if there are none."""
        if self.continue_final_message or is_begun(self.messages[-1]):
            return {"continue_final_message": True}
        return {"add_generation_prompt": False} if self.add_generation_prompt is False else {}

    def sampling(self, **changes: Any) -> Sampling:
        return super().sampling(
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            **changes,
        )

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def sent_as(self) -> dict[str, str]:
        """Names of an engine's parameters that this body has under other names."""
        names = self.form_sent_as
        if self.max_completion_tokens is not None:
            names["max_tokens"] = "max_completion_tokens"
        if self.top_logprobs:
            names["logprobs"] = "top_logprobs"
        if self.functions:
            names[TOOLS_FIELD] = "functions"
        return names


def _json_size(value: dict[str, Any]) -> int:
    try:
        return len(orjson.dumps([value])) - len("[]")
    except TypeError:  # nested too deep to be written, though not to be read
        return MAX_TEMPLATE_ARGUMENTS_BYTES + 1
