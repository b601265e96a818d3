"""The bodies of POST /v1/messages and /v1/messages/count_tokens. null is the same as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticCustomError

from gateway.answers.reasoning import Effort
from gateway.dialects.anthropic.blocks import AssistantBlock, TextBlocks, UserBlock, as_blocks
from gateway.dialects.anthropic.content import ShownThinking
from gateway.dialects.anthropic.tools import ToolChoice, ToolDefinitions
from gateway.dialects.body import ModelName
from gateway.dialects.depth import Shallow
from gateway.dialects.openai.requests.forms import schema_form
from gateway.dialects.openai.requests.generation import whole_number
from gateway.dialects.openai.requests.schema_field import Schema
from triton_repo.contract.model_card import REASONING_EFFORT, REASONING_SWITCHES
from triton_repo.contract.sampling import GUIDE_FIELDS, UNSUPPORTED, Count, Sampling

MAX_MESSAGES: Final = 4096
MAX_BLOCKS: Final = 8192  # of all messages together: validation must not hold up the event loop
MAX_STOP_SEQUENCES: Final = 64

_OWN_NAMES: Final = dict.fromkeys(GUIDE_FIELDS, "output_config")


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class UserMessage(_Value):
    role: Literal["user"]
    content: Annotated[Annotated[list[UserBlock], Field(fail_fast=True)], BeforeValidator(as_blocks)]


class AssistantMessage(_Value):
    role: Literal["assistant"]
    content: Annotated[Annotated[list[AssistantBlock], Field(fail_fast=True)], BeforeValidator(as_blocks)]


class SystemMessage(_Value):
    """Instructions in the course of the conversation."""

    role: Literal["system"]
    content: TextBlocks


def _few_blocks(messages: Any) -> Any:
    """Counted before they are validated, which costs a hundred times as much."""
    if isinstance(messages, list):
        contents = [message.get("content") for message in messages if isinstance(message, dict)]
        if sum(len(content) for content in contents if isinstance(content, list)) > MAX_BLOCKS:
            raise PydanticCustomError("too_many_blocks", "may have at most {max} content blocks", {"max": MAX_BLOCKS})
    return messages


_ROLES: Final = ("user", "assistant", "system")
_MESSAGE: Final = "must be an object whose role is user, assistant or system"


def _role(message: Any) -> str | None:
    role = message.get("role") if isinstance(message, dict) else None
    return f"tagged-{role}" if role in _ROLES else None


AnyMessage = UserMessage | AssistantMessage | SystemMessage


def _not_prefilled(messages: list[AnyMessage]) -> list[AnyMessage]:
    if isinstance(messages[-1], AssistantMessage):
        rule = (
            "the last message must not be the assistant's: this server does not continue an answer that a client begins"
        )
        raise PydanticCustomError(UNSUPPORTED, "{rule}", {"rule": rule})
    return messages


Messages = Annotated[
    list[
        Annotated[
            Annotated[UserMessage, Tag("tagged-user")]
            | Annotated[AssistantMessage, Tag("tagged-assistant")]
            | Annotated[SystemMessage, Tag("tagged-system")],
            Discriminator(_role, custom_error_type="must_be", custom_error_message=_MESSAGE),
        ]
    ],
    Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
    AfterValidator(_not_prefilled),
    BeforeValidator(_few_blocks),
]


class Thinking(_Value):
    """Whether the model reasons before it answers, as far as its chat template has a switch (`enable_thinking`).

    How many tokens that may take, `budget_tokens`, is not bounded. `display` "omitted" leaves out the text of it.
    """

    type: str  # "disabled", or one of several ways to enable it
    display: str | None = None


class JsonFormat(_Value):
    type: Literal["json_schema"]
    json_schema: Annotated[Schema, Field(alias="schema")]


class OutputConfig(_Value):
    effort: Effort | None = None
    format: JsonFormat | None = None


class Metadata(_Value):
    user_id: str | None = None


def _only_empty(value: Any) -> Any:
    if value not in (None, [], {}):
        raise PydanticCustomError(UNSUPPORTED, "this server does not support this parameter")
    return value


_Unsupported = Annotated[Any, AfterValidator(_only_empty)]


class CountTokensRequest(_Value):
    """What a prompt is made of."""

    model: ModelName
    messages: Messages
    system: TextBlocks | None = None
    tools: ToolDefinitions | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    chat_template_kwargs: Shallow[dict[str, Any]] | None = None
    mcp_servers: _Unsupported = None
    container: _Unsupported = None

    @property
    def effort(self) -> Effort | None:
        """None where the model is not to think: one that always does answers all the same."""
        is_off = self.thinking is not None and self.thinking.type == "disabled"
        return None if is_off or self.output_config is None else self.output_config.effort

    @property
    def template_arguments(self) -> dict[str, Any]:
        """Those that the client names itself, and whether the model is to think."""
        switch = {} if self.thinking is None else {"enable_thinking": self.thinking.type != "disabled"}
        return switch | (self.chat_template_kwargs or {})


class MessagesRequest(CountTokensRequest, Sampling):
    """POST /v1/messages. Besides Anthropic's parameters it takes those of the engines."""

    max_tokens: Count
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stop_sequences: (
        Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=MAX_STOP_SEQUENCES, fail_fast=True)]
        | None
    ) = None
    stream: bool | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    logprobs: Literal[None] = None  # a message has no place for them

    @field_validator("max_tokens", "min_tokens", "top_k", "seed", mode="before")
    @classmethod
    def _integral(cls, value: Any) -> Any:
        return whole_number(value)

    @property
    def sampling(self) -> Sampling:
        """The fields of the engine alone, validated as part of this body. `top_p` 0 leaves the likeliest token."""
        fields = {name: getattr(self, name) for name in Sampling.model_fields}
        if self.top_p == 0:
            fields |= {"top_p": None, "top_k": 1}
        if self.output_config is not None and self.output_config.format is not None:
            form = schema_form(self.output_config.format.json_schema)
            fields |= dict(zip(GUIDE_FIELDS, form.guide, strict=True))
        return Sampling.model_construct(**fields)

    @property
    def sent_as(self) -> Mapping[str, str]:
        """Names of an engine's parameters that this body has under other names."""
        names = {"prompt": "messages", REASONING_EFFORT: "output_config.effort"}
        return names | _OWN_NAMES if self.output_config is not None and self.output_config.format else names

    @property
    def shown_thinking(self) -> ShownThinking:
        """Nothing for a client that did not ask for it: it takes the first block of an answer for the text, although
        there are models that reason in any case."""
        if not any(self.template_arguments.get(name) for name in REASONING_SWITCHES):
            return "none"
        return "omitted" if self.thinking is not None and self.thinking.display == "omitted" else "text"
