"""The items of an input as a request has them: of every kind, by themselves or as references to items that are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from gateway.dialects.responses.items import (
    MAX_PARTS,
    AnswerMessage,
    CustomCall,
    CustomCallOutput,
    FunctionCall,
    FunctionCallOutput,
    ItemId,
    ItemValue,
    Message,
    Reasoning,
)
from gateway.dialects.responses.resource import InputItem
from gateway.store.responses import ResponseStore
from triton_repo.contract.errors import InvalidRequest
from triton_repo.contract.sampling import UNSUPPORTED

MAX_ITEMS: Final = 4096
MAX_NEW_ITEMS: Final = 20  # of one request to add them to a conversation: OpenAI's


class ItemReference(ItemValue):
    """An item of an earlier response, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: ItemId


_KINDS: Final = {
    "message": "message",
    "answer": "answer",
    "function_call": "function_call",
    "function_call_output": "function_call_output",
    "custom_tool_call": "custom_tool_call",
    "custom_tool_call_output": "custom_tool_call_output",
    "reasoning": "reasoning",
    "item_reference": "item_reference",
}


def _kind(value: Any) -> str | None:
    """The item's type, which messages and references may leave out. None is none that there is."""
    if not isinstance(value, dict):
        return None
    kind = value.get("type") or ("message" if "role" in value else "item_reference" if "id" in value else None)
    if kind == "message" and value.get("role") == "assistant":
        return "answer"
    return kind if isinstance(kind, str) and kind in _KINDS else None


def _known(value: Any) -> Any:
    if not isinstance(value, dict):
        raise PydanticCustomError("item", "must be an object: an item with a type, or a message with a role")
    if _kind(value) is None:
        kinds = ", ".join(kind for kind in _KINDS if kind != "answer")
        message = "items of this type are not supported, only {kinds}"
        raise PydanticCustomError(UNSUPPORTED, message, {"kinds": kinds})
    return value


Item = (
    Message
    | AnswerMessage
    | FunctionCall
    | FunctionCallOutput
    | CustomCall
    | CustomCallOutput
    | Reasoning
    | ItemReference
)
_AnyItem = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[AnswerMessage, Tag("answer")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[CustomCall, Tag("custom_tool_call")]
    | Annotated[CustomCallOutput, Tag("custom_tool_call_output")]
    | Annotated[Reasoning, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_kind),
    BeforeValidator(_known),
]


def _as_list(value: Any) -> Any:
    """A string is the message of a user."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise PydanticCustomError("input", "must be a string or a list of items")
    return _counted(value)


def _counted(value: Any) -> Any:
    """Parts are counted before they are validated, which costs far more."""
    if not isinstance(value, list):
        raise PydanticCustomError("items", "must be a list of items")
    given = [part for item in value if isinstance(item, dict) for part in item.values() if isinstance(part, list)]
    if sum(map(len, given)) > MAX_PARTS:
        raise PydanticCustomError("too_many_parts", "may have at most {most} content parts", {"most": MAX_PARTS})
    return value


Input = Annotated[
    list[_AnyItem],
    Field(max_length=MAX_ITEMS, fail_fast=True),
    BeforeValidator(_as_list, json_schema_input_type=str | list[_AnyItem]),
]
NewItems = Annotated[
    list[_AnyItem],
    Field(max_length=MAX_NEW_ITEMS, fail_fast=True),
    BeforeValidator(_counted, json_schema_input_type=list[_AnyItem]),
]


def as_kept(items: Sequence[Item], seed: str) -> list[InputItem | ItemReference]:
    """The items as they are kept: each with its own id, or one that is made of the seed."""
    return [
        item if isinstance(item, ItemReference) else item.as_item(f"{seed}i{index}") for index, item in enumerate(items)
    ]


async def resolved(
    items: Sequence[InputItem | ItemReference], responses: ResponseStore, owner: str, max_bytes: int, param: str
) -> list[Mapping[str, Any]]:
    """The items with those that they refer to, which may be the same one many times.

    Raises:
        InvalidRequest: one is not kept; names the parameter.
        OverflowError: those that are referred to are larger than `max_bytes`.
    """
    times = Counter(item.id for item in items if isinstance(item, ItemReference))
    known = await responses.items(owner, times) if times else {}
    if missing := next((id for id in times if id not in known), None):
        raise InvalidRequest(f"{param}: there is no item {missing[:80]!r} that is kept", param)
    if sum(times[id] * len(orjson.dumps(item)) for id, item in known.items()) > max_bytes:
        raise OverflowError
    return [known[item.id] if isinstance(item, ItemReference) else item for item in items]
