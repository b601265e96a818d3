"""Conversations: the bodies that ask for them, what is told of them, and how a response names its own."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from gateway.dialects.openai.messages import must_be
from gateway.dialects.responses.input import NewItems
from gateway.dialects.responses.items import ItemId

MAX_METADATA: Final = 16


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


def _few(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_METADATA:
        raise PydanticCustomError("metadata", "may have at most {most} keys", {"most": MAX_METADATA})
    return value


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], AfterValidator(_few)
]


def _some(value: list[Any]) -> list[Any]:
    if not value:
        raise PydanticCustomError("no_items", "must have at least one item")
    return value


class CreateConversationRequest(_Value):
    """POST /v1/conversations."""

    items: NewItems | None = None
    metadata: Metadata | None = None


class UpdateConversationRequest(_Value):
    """POST /v1/conversations/{id}: the metadata in place of the ones that it had; null is none."""

    metadata: Metadata | None


class CreateItemsRequest(_Value):
    """POST /v1/conversations/{id}/items."""

    items: Annotated[NewItems, AfterValidator(_some)]


class _Reference(_Value):
    id: ItemId


def _id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


ConversationId = Annotated[
    ItemId,
    BeforeValidator(_id, json_schema_input_type=ItemId | _Reference),
    must_be('the id of a conversation, or {"id": ...} with it'),
]


class ConversationResource(TypedDict):
    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(TypedDict):
    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]
